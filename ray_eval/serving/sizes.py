"""How many requests share a forward and how many rows it has: the whole difference between the two determinisms; pure.

Linear algebra picks code by size, so that a row at batch 1 differs in its last bits from the same row at batch 4.
"""

from __future__ import annotations

import dataclasses
import logging

from ray_eval.sections import BatchingSection
from ray_eval.types import PolicySpec

logger = logging.getLogger(__name__)


class BatchSizes:
    """The sizes of one policy's forwards; changed by the thread of the forwards alone.

    reproducible: every forward has `batch_size` rows. throughput: the next power of two, so that compiled graphs are
    used again, up to `max_batch_size`, which halves when memory runs out. A `batch_invariant` policy gets as many
    rows as there are requests.
    """

    def __init__(self, batching: BatchingSection, spec: PolicySpec) -> None:
        self._name = spec.name
        self._is_padded = not spec.batch_invariant
        self._is_fixed = self._is_padded and batching.determinism == "reproducible"
        self.limit = batching.batch_size if self._is_fixed else batching.max_batch_size
        """Most requests in one forward."""

    def rows(self, count: int) -> int:
        """Rows of a forward for so many requests."""
        if self._is_fixed:
            return self.limit
        return min(self.limit, 1 << (count - 1).bit_length()) if self._is_padded else count

    def halve(self, count: int) -> bool:
        """Allows no more forwards of so many rows, if smaller ones may be had; whether they may."""
        if self._is_fixed or count == 1:
            return False
        self.limit = min(self.limit, count // 2)
        logger.warning("policy %r: out of memory at %d rows; at most %d from now on", self._name, count, self.limit)
        return True

    def buckets(self) -> tuple[int, ...]:
        """Every number of rows that a forward can have."""
        return tuple(sorted({self.rows(count) for count in range(1, self.limit + 1)}))


def served_spec(spec: PolicySpec, batching: BatchingSection) -> PolicySpec:
    """The spec of a policy behind a server: throughput mode takes its promise of bytes away."""
    if batching.determinism == "reproducible" or spec.batch_invariant:
        return spec
    sizes = f"serving.determinism=throughput, up to {batching.max_batch_size} rows a forward"
    remark = f"policy {spec.name}: {sizes}: batches depend on timing, so no bytes are promised"
    return dataclasses.replace(spec, is_reproducible=False, remarks=(*spec.remarks, remark))
