"""One attention function for every decoder family: read attention, its sums and gradients, edit heads, resume.

Everything works through transformers' AttentionInterface, so no model code is patched.  Start with `attend`:

    plan = Plan(column_sums={"alpha": ColumnSum()}, diagonal=True)
    with torch.no_grad(), attend(model, plan) as record:
        model(input_ids, attention_mask=mask, use_cache=False)
    record.column_sums["alpha"][layer]      # (B, H, T)
"""

from ..models.architectures import decoder_layers
from .apart import alone, attention_layers, packable
from .check import (
    ATTENTION,
    EDITS,
    GENERATION,
    GRADIENTS,
    HEADS,
    LOGITS,
    START,
    STATES,
    checked,
    self_check,
)
from .interface import attend
from .kernels import AttentionInputs
from .packed import packed
from .packs import Pack
from .plan import ColumnSum, Flow, Plan, Record, RowMass, Stripe
from .requirements import can_attend
from .residuals import lowest_layers, read_in_layer, residuals
from .resume import layer_inputs, resume_from
from .saliency import FlowPairs, FlowSums, attention_gradients, attention_rows, flow_sums

__all__ = [
    "ATTENTION",
    "EDITS",
    "GENERATION",
    "GRADIENTS",
    "HEADS",
    "LOGITS",
    "START",
    "STATES",
    "AttentionInputs",
    "ColumnSum",
    "Flow",
    "FlowPairs",
    "FlowSums",
    "Pack",
    "Plan",
    "Record",
    "RowMass",
    "Stripe",
    "alone",
    "attend",
    "attention_gradients",
    "attention_layers",
    "attention_rows",
    "can_attend",
    "checked",
    "decoder_layers",
    "flow_sums",
    "layer_inputs",
    "lowest_layers",
    "packable",
    "packed",
    "read_in_layer",
    "residuals",
    "resume_from",
    "self_check",
]
