"""What a job that runs a model is given."""

from __future__ import annotations

import gc
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.data.chat import ChatOption, ChatSettings, Prompter
from atlas.dtypes import DTYPE_BYTES
from atlas.errors import AtlasError
from atlas.models.folder import check_model_folder
from atlas.models.limits import Limits, read_limits
from atlas.models.loading import describe_runtime, load_model, load_tokenizer
from atlas.models.memory import gpu_room, gpus_of
from atlas.results.documents import provenance
from atlas.results.task import Document, Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass
class ModelTask(Task):
    """A job with a model: its folder is the input `model`, how it is loaded the param `runtime`.

    held: the loaded model, under `model`; what jobs that run on one load have in common.
    """

    held: dict[str, PreTrainedModel] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return Path(self.inputs["model"])

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        return load_tokenizer(self.folder)

    @cached_property
    def prompter(self) -> Prompter:
        """The tokenizer with how chat templates are rendered: the param `chat` of a rule whose job renders one."""
        chat = self.params.get("chat")
        return Prompter(self.tokenizer, self.wildcards["model"], ChatSettings(**chat) if chat else None)

    def settled(self, said: ChatOption) -> Any:
        """The options with `said` as it is for this model where it is auto; from here on, so the provenance says it."""
        value = self.prompter.choice(self.options[said.key], said)
        self.params = {**self.params, "options": {**self.options, said.key: value}}
        return self.options

    @cached_property
    def limits(self) -> Limits:
        """What the model can be given: every text is held against it before it is run."""
        return read_limits(self.folder)

    @property
    def model(self) -> PreTrainedModel:
        """Loaded when it is first asked for: bad input is noticed before."""
        if "model" not in self.held:
            model = load_model(self.folder, **self.params["runtime"])
            self.log.info("%s", describe_runtime(model))
            self.held["model"] = model
        return self.held["model"]

    def reloaded(self, dtype: str) -> PreTrainedModel | None:
        """The model in another dtype, in place of the one that was loaded; None, with a line in the log, if it fails.

        Call `provenance` before: what it says of the runtime is of the model that made the result.
        """
        parameters, places = self.model.num_parameters(), gpus_of(self.model)
        self.held.clear()
        gc.collect()
        needed = parameters * DTYPE_BYTES[dtype]
        # Looked at before: under device_map: auto what has no room on the GPUs would be read into main memory.
        if places and needed > (room := sum(map(gpu_room, places))):
            self.log.warning(
                "not measured again in %s: its weights take %.1f GB, and the job's GPUs have room for %.1f GB",
                dtype, needed / 1e9, room / 1e9,
            )  # fmt: skip
            return None
        try:
            return load_model(self.folder, **{**self.params["runtime"], "dtype": dtype})
        except AtlasError as error:
            self.log.warning("not measured again in %s: %s", dtype, error)
            return None

    def dataset(self, name: str = "dataset") -> Any:
        """Where the data set of an input comes from, from its provenance."""
        return self.document(name)["dataset"]

    def provenance(self, *, dataset: Any = None, options: Any = None, **more: object) -> Document:
        """Where the result of this model comes from; data set and options are those of the job unless given.

        Where the job rendered a chat template, `chat` says on what day, with which values, and a hash of the frames.
        """
        chat = self.prompter.record() if self.params.get("chat") else None
        return provenance(
            options=self.options if options is None else options,
            model=check_model_folder(self.folder),
            dataset=self.dataset() if dataset is None else dataset,
            runtime=describe_runtime(self.model),
            **({} if chat is None else {"chat": chat}),
            **more,
        )
