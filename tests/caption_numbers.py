"""The phrases with numbers that captions must hold, computed from tables by other code than the captions'.

models: {key: label}, datasets: {key: label}, tables: {name: frame}, of those that a figure shows.
"""

import re


def check(text, expected, constant=()):
    """Every expected phrase is there, and nothing else in `text` holds a digit."""
    for phrase in sorted({*expected, *constant}, key=len, reverse=True):  # one may be part of another
        assert phrase in text, f"{phrase!r} is not in {text!r}"
        text = text.replace(phrase, "~")
    assert not re.search(r"\d", text), text


def of(table, **wanted):
    """The rows that have these values."""
    for column, value in wanted.items():
        table = table[table[column] == value]
    return table


def shared(told):
    """What is told of each label, once for all that share it; without labels where all do."""
    labels = {}
    for label, text in told.items():
        labels.setdefault(text, []).append(label)
    return list(labels) if len(labels) == 1 else [f"{text} ({', '.join(names)})" for text, names in labels.items()]


def safety_effect(tables, models):
    """(phrases of the caption, notes of models that refuse nothing)."""
    effect, groups = tables["ablation_effect"], tables["head_groups"]
    expected, notes, counts = [], [], {}
    for model, label in models.items():
        # Before anything is ablated every draw gives the same answers, so the share of all answers is that of prompts.
        before = of(effect, model=model, heads_ablated=0)
        prompts = before["prompts"].iloc[0]
        refused = round((before["refused"].sum() / (before["prompts"] * before["draws"]).sum()) * prompts)
        counts[label] = f"{prompts} prompts"
        if refused:
            expected.append(f"{label} refuses {refused} of {prompts} prompts with all heads in place.")
        else:
            expected.append(f"{label} refuses none of the prompts")
            notes.append(f"this model refuses none of the {prompts} prompts with all heads in place: nothing to lose")
        for ablation, rows in of(groups, model=model).groupby("ablation"):
            rows = rows.sort_values("step")
            heads = " + ".join(f"({layer}, {head})" for layer, head in zip(rows["layer"], rows["head"], strict=True))
            expected.append(
                f"Greedy group among the {rows['candidates'].max()} strongest heads of {label}, {ablation}: {heads}, "
                f"{rows['ships_degrees'].iloc[-1]:.2f} degrees."
            )
    draws = of(effect, selection="random")["draws"].unique()
    return [*shared(counts), *expected, f"{draws.item()} draws"], notes


def relation_effect(tables, models, minimum):
    """What the caption counts, and the labels of the rows under `implementing`."""
    expected, rows = [], []
    for model, label in models.items():
        own = of(tables["relation_effect"], model=model)
        clean = of(own, selection="none")
        number = sum(rate >= minimum for rate in clean["accuracy"])
        without = sorted(set(clean["relation"]) - set(of(own, heads_set="implementing")["relation"]))
        moved = [row.relation for row in of(own, heads_set="implementing").itertuples() if row.elsewhere > 0]
        lack = f"no such head for {', '.join(without)}." if without else "each has such heads."
        expected.append(f"{label}: {number} of {len(clean)} relations are completed that often; {lack}")
        if moved:
            told = f"Too few others in these layers for {', '.join(moved)}: some random heads are of other layers."
            expected[-1] += f" {told}"
        for row in of(own, heads_set="implementing", selection="relation").itertuples():
            rows.append(f"{row.relation} ({row.heads_ablated} heads, {100 * row.base_accuracy:.0f}%)")
    return expected, rows


def relation_dynamic(tables, models):
    """One sentence for each model."""
    expected = []
    for model, label in models.items():
        rows = of(tables["relation_correlation"], model=model, sign="direct", relation="(mean)").set_index("context")
        if rows["relations"].sum() == 0:
            expected.append(f"{label}: no head implements a relation (tau = 0.15).")
            continue
        apart, within = rows.loc["without"], rows.loc["with"]
        expected.append(
            f"{label}: mean correlation {apart.correlation:.2f} [{apart.low:.2f}, {apart.high:.2f}] without context "
            f"and {within.correlation:.2f} [{within.low:.2f}, {within.high:.2f}] with context, over the "
            f"{apart.relations} relations that some head implements (tau = 0.15); of these {apart.implementing} heads "
            f"{apart.confirmed} score above tau without context and {within.confirmed} with."
        )
    return expected


def safety_heads(tables, models, top):
    """One phrase for each model."""
    expected = []
    for model, label in models.items():
        own = of(tables["safety_heads"], rank=1, model=model)
        strongest = []
        for ablation in ("undifferentiated", "scaling"):
            row = of(own, ablation=ablation).nlargest(1, "ships_degrees").iloc[0]
            strongest.append(
                f"{ablation} ({row.layer}, {row['head']}) {row.ships_degrees:.2f} "
                f"[{row.ships_low:.2f}, {row.ships_high:.2f}]"
            )
        prompts, dropped = own["queries"].unique().item(), own["queries_dropped"].unique().item()
        heads = len(own[["layer", "head"]].drop_duplicates())
        only = f" It has only {heads} heads." if heads < top else ""
        expected.append(
            f"{label}: {prompts} prompts ({dropped} dropped); strongest (layer, head) {'; '.join(strongest)}.{only}"
        )
    return expected


def sink_rates(tables, models):
    """The shares in the legends of all panels."""
    rates = tables["sink_rates"]
    return list(
        dict.fromkeys(
            f"{kind} {100 * of(rates, model=model, input=kind).dropna(subset='layer')['rate'].mean():.1f} %"
            for model in models
            for kind in ("natural", "random", "repeated")
        )
    )


def head_types(tables, models):
    """The strongest head of each type, with its interval."""
    words = {"previous_token": "previous token", "duplicate_token": "duplicate token", "induction": "induction"}
    expected = []
    for model, label in models.items():
        said = []
        for kind, name in words.items():
            row = of(tables["head_types"], model=model).nlargest(1, kind).iloc[0]
            bounds = f"[{row[f'{kind}_low']:.3f}, {row[f'{kind}_high']:.3f}]"
            said.append(f"{name} {row[kind]:.3f} {bounds} in head ({row['layer']}, {row['head']})")
        expected.append(f"{label}: {', '.join(said)}")
    table = tables["head_types"]
    alike = {label: f"{of(table, model=model)['uniform'].iloc[0]:.3f}" for model, label in models.items()}
    number, length = table["sequences"].unique().item(), table["length"].unique().item()
    return [*expected, *shared(alike), f"{number} sequences", f"{length} different tokens"]


def attention_sinks(tables, models, heads, layer):
    """(phrases of the caption, labels of the models whose first position is left out)."""
    expected, hidden = [], []
    for model, label in models.items():
        own = of(tables["meaningless_effect"], model=model, layer=layer).sort_values("effect").head(heads)
        shown = ", ".join(f"({row}, {head})" for row, head in zip(own["layer"], own["head"], strict=True))
        counts = own["prompts"].unique().item(), own["prompts_dropped"].unique().item()
        expected.append(f"{label}: {counts[0]} prompts ({counts[1]} dropped), heads (layer, head; 0-based) {shown}.")
        if len(own) < heads:
            expected.append(f"{label} has only {len(own)} there.")
        fall = (own["effect"] < 0).sum()
        if fall < len(own):
            expected.append(f"In {label} attention falls in {fall or 'none'} of these {len(own)}.")
        first = of(tables["attention_weights"], model=model, layer=layer, position=0)
        first = first[first["head"].isin(own["head"])]
        hidden += [label] if (first["weight"] > 0.3).any() else []
    return expected, hidden


def categories(tables, models, table, minimum):
    """table: the rows of head_categories under one significance; minimum: the pairs that a relation needs."""
    pairs = tables["relation_pairs"]
    some = [
        f"{relation} ({', '.join(models[model] for model in rows.loc[rows['kept'] >= minimum, 'model'])})"
        for relation, rows in pairs.groupby("relation", sort=False)
        if 0 < sum(rows["kept"] >= minimum) < len(models)
    ]
    found = [f"only some on: {', '.join(some)}."] if some else []
    for model, label in models.items():
        report, own = of(pairs, model=model), of(table, model=model)
        used = report[report["kept"] >= minimum]
        dropped = ", ".join(report.loc[report["kept"] < minimum, "relation"])
        labelled = sum(own["label"] != "Unclassified") / len(own)
        found.append(
            f"{label}: {len(used)} of {len(report)} relations (dropped: {dropped or 'none'}), "
            f"{used['scored'].sum()} of {report['given'].sum()} pairs, {len(own)} heads, {labelled:.0%} labelled."
        )
    return found


def answers(table, models, datasets):
    """Right and wrong answers of a table of saliency, of each model and data set that it has."""
    found = []
    for model, label in models.items():
        for dataset, name in datasets.items():
            own = of(table, model=model, dataset=dataset, loss="probe_bce").drop_duplicates("sample")
            if own.empty:
                continue
            right, wrong = own[own["correct"]], own[~own["correct"]]
            ways = {part: own[f"{part}_strategy"].value_counts() for part in ("question", "answer")}
            told = {
                part: "/".join(f"{way} {count}" for way, count in sorted(found.items(), key=lambda pair: -pair[1]))
                for part, found in ways.items()
            }
            found.append(
                f"{label}, {name}: n = {len(right)} right and {len(wrong)} wrong answers, which stand for "
                f"{right['weight'].sum():.0f} and {wrong['weight'].sum():.0f} (sampling weights are used); exact "
                f"tokens: question {told['question']}, answer {told['answer']}."
            )
    return found


def probes(tables, models, datasets):
    """The probe of each model and data set."""
    found = []
    for model, label in models.items():
        for dataset, name in datasets.items():
            own = of(tables["probe_auroc"], model=model, dataset=dataset).dropna(subset="auroc").nlargest(1, "auroc")
            found += [
                f"Probe of {label} on {name}: hidden state {row.layer}, AUROC {row.auroc:.2f}, nested "
                f"{row.nested_auroc:.2f} ({row.nested_low:.2f} to {row.nested_high:.2f})."
                for row in own.itertuples()
            ]
    return found


def mixtures(tables, models, datasets):
    """The two components of each model and data set whose densities could be fitted."""
    found = []
    for model, label in models.items():
        for dataset, name in datasets.items():
            own = of(tables["saliency_mixture"], model=model, dataset=dataset, loss="probe_bce")
            own = of(own, flow="question_to_answer").dropna(subset="separation")
            for row in own.itertuples():
                lost = row.draws - row.draws_used
                told = f", {lost} of {row.draws} bootstrap draws left out: no fit" if lost else ""
                found.append(
                    f"{row.separation:.1f} [{row.separation_low:.1f}, {row.separation_high:.1f}], dip p = "
                    f"{row.dip_p:.2f} ({label}, {name}, {row.group}{told})"
                )
    return found


def ends(table, models):
    """Where the axis of saliency ends: the 99.5 % quantile of each model."""
    found = []
    for model, label in models.items():
        own = of(table, model=model, loss="probe_bce")
        own = own[own["flow"].isin(["question_to_answer", "question_to_all"])]
        weight = own["weight"] / own.groupby(["dataset", "flow"])["weight"].transform("sum")
        order = own["saliency"].sort_values()
        end = order[weight[order.index].cumsum() >= 0.995 * weight.sum() - 1e-12].iloc[0]
        found.append(f"{end:.2g} ({label})")
    return found


def probe_auroc(tables, models, datasets):
    """(phrases of the caption, entries of the legends)."""
    expected, legend = [], []
    for dataset, name in datasets.items():
        own = [
            (label, of(tables["probe_auroc"], model=model, dataset=dataset).iloc[0]) for model, label in models.items()
        ]
        each = shared({label: f"{row['correct']} right and {row['wrong']} wrong answers" for label, row in own})
        expected.append(f"{name}: n = {', '.join(each)}.")
        legend += [f"{label} (nested {row['nested_auroc']:.2f})" for label, row in own if row["nested_auroc"] > 0]
    return expected, list(dict.fromkeys(legend))


def head_overlap(tables, models):
    """Heads and significant pairs of measures of each model."""
    expected = []
    for model, label in models.items():
        own = of(tables["head_overlap"], model=model)
        there = own.dropna(subset="rho")
        expected.append(
            f"{label}: {len(of(tables['heads'], model=model))} heads, {sum(there['q'] < 0.05)} of {len(there)} pairs "
            f"significant over all heads, {sum(there['within_q'] < 0.05)} of {len(there)} within layers."
        )
    return expected
