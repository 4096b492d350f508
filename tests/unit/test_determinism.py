"""The start-up proof, the sizes of forwards, and what becomes of a batch that memory does not hold."""

import asyncio
import dataclasses
import itertools
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_eval.config import load_config
from ray_eval.errors import ConfigError, PolicyChanged, SetupError
from ray_eval.sections import BatchingSection
from ray_eval.serving.batcher import Batcher
from ray_eval.serving.determinism import largest_proved_batch, largest_useful_batch, prove
from ray_eval.serving.sizes import BatchSizes, served_spec
from ray_eval.types import STATE, ActionChunk, Observation, PolicySpec


def spec_of(**changes):
    return PolicySpec(name="p", keys=(STATE,), chunk_len=2, **changes)


class Rows:
    """Answers each row by a function of (its seed, its position, the whole batch's seeds), in float32."""

    def __init__(self, answer=lambda seed, position, seeds: seed, limit=10_000, **spec):
        self.spec = spec_of(**spec)
        self.answer, self.limit = answer, limit
        self.sizes = []

    def infer_batch(self, observations):
        self.sizes.append(len(observations))
        if len(observations) > self.limit:
            raise MemoryError
        seeds = [o.noise_seed for o in observations]
        return [ActionChunk(np.full((2, 7), self.answer(s, i, seeds), np.float32)) for i, s in enumerate(seeds)]


def reproducible(batch_size):
    return BatchingSection(batch_size=batch_size)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 8])
def test_a_policy_whose_rows_are_their_own_passes_and_every_forward_has_one_size(batch_size):
    policy = Rows()
    prove(policy, reproducible(batch_size))
    assert set(policy.sizes) == {batch_size}


COUNTER = itertools.count()
SINNERS = {
    "neighbours": (lambda s, i, seeds: s + 1e-7 * sum(seeds), "neighbours are others|filled up|another position"),
    "position": (lambda s, i, seeds: s + (i == 3), "another position"),
    "the first row": (lambda s, i, seeds: s + seeds[0], "position|filled|neighbours"),
    "the fill": (lambda s, i, seeds: s + len(set(seeds)), "filled up otherwise|neighbours are others"),
    "the largest neighbour": (lambda s, i, seeds: s / max(seeds[-1], 1), "position|filled|neighbours"),
    "its own memory": (lambda s, i, seeds: next(COUNTER), "asked again.*noise_seed"),
}


@pytest.mark.parametrize("sin", SINNERS)
def test_a_policy_whose_rows_depend_on_more_is_refused_and_told_what_to_write(sin):
    answer, said = SINNERS[sin]
    with pytest.raises(SetupError, match=rf"(?s)({said}).*serving\.determinism=throughput"):
        prove(Rows(answer), reproducible(4))


def test_a_policy_that_goes_on_from_its_last_chunk_is_asked_with_the_rest_of_it():
    class Continuing(Rows):
        """Where it has a rest of its last chunk, how many rows share its batch shows."""

        def infer_batch(self, observations):
            self.rests += [o.action_raw is not None for o in observations]
            leak = len({o.noise_seed for o in observations if o.action_raw is not None}) if self.leaks else 0
            return [
                ActionChunk(c.actions + leak, action_raw=c.actions[:, :3]) for c in super().infer_batch(observations)
            ]

    honest, sinner = Continuing(takes_prefix=True), Continuing(takes_prefix=True)
    (honest.rests, honest.leaks), (sinner.rests, sinner.leaks) = ([], False), ([], True)
    prove(honest, reproducible(3))
    assert set(honest.rests) == {True, False}
    with pytest.raises(SetupError, match=r"neighbours are others|filled up"):
        prove(sinner, reproducible(3))


@pytest.mark.parametrize("part", ["action_raw", "policy_state"])
def test_the_refusal_names_the_part_of_an_answer_that_differs(part):
    class Wavering(Rows):
        def infer_batch(self, observations):
            count = next(COUNTER)
            value = bytes([count % 256]) if part == "policy_state" else np.full((2, 3), count, np.float32)
            return [dataclasses.replace(c, **{part: value}) for c in super().infer_batch(observations)]

    with pytest.raises(SetupError, match=f"got the same actions with another {part} when .*, in forwards of 2"):
        prove(Wavering(takes_prefix=True), reproducible(2))


def test_at_batch_1_only_noise_of_its_own_is_refused():
    for sin, (answer, _) in SINNERS.items():
        if sin != "its own memory":
            prove(Rows(answer), reproducible(1))
    with pytest.raises(SetupError, match="noise_seed"):
        prove(Rows(SINNERS["its own memory"][0]), reproducible(1))


def test_a_false_promise_of_batch_invariance_is_refused():
    with pytest.raises(SetupError, match="p"):
        prove(Rows(lambda s, i, seeds: len(seeds), batch_invariant=True), reproducible(1))
    prove(Rows(batch_invariant=True), reproducible(1))


@pytest.mark.parametrize("first_wrong", [4, 7, 8, 33, 64])
def test_a_promise_of_batch_invariance_is_proved_up_to_the_size_that_is_served(first_wrong):
    policy = Rows(lambda s, i, seeds: s + 1e-3 * (len(seeds) >= first_wrong), batch_invariant=True)
    prove(policy, reproducible(1))
    with pytest.raises(SetupError, match=r"shares a forward of \d+ rows; let its spec not say batch_invariant"):
        largest_proved_batch(policy, BatchingSection(), clock=lambda: 0.0)
    assert largest_proved_batch(policy, BatchingSection(max_batch_size=first_wrong - 1), clock=lambda: 0.0) == (
        first_wrong - 1
    )


def test_a_size_between_two_powers_of_two_is_tried_as_well():
    policy = Rows(lambda s, i, seeds: s + 1e-3 * (len(seeds) == 15), batch_invariant=True)
    with pytest.raises(SetupError, match="forward of 15 rows"):
        largest_proved_batch(policy, BatchingSection(), clock=lambda: 0.0)


@pytest.mark.parametrize(("row_s", "proved"), [(0.0, 64), (0.02, 64), (0.5, 4), (10.0, 2)])
def test_a_batch_invariant_policy_is_served_in_batches_that_could_be_proved_soon(row_s, proved):
    policy = Rows(batch_invariant=True)
    assert largest_proved_batch(policy, BatchingSection(), Clock(policy, lambda size: row_s * size)) == proved
    assert sum(policy.sizes) * row_s <= 12 or proved == 2


def test_memory_bounds_the_batches_of_a_batch_invariant_policy():
    policy = Rows(batch_invariant=True, limit=20)
    assert largest_proved_batch(policy, BatchingSection(), clock=lambda: 0.0) == 16
    with pytest.raises(SetupError, match="memory for a forward of 1 rows"):
        largest_proved_batch(Rows(batch_invariant=True, limit=0), BatchingSection(), clock=lambda: 0.0)


class Remembering(Rows):
    """Answers by what it keeps of earlier requests, per `key`, and forgets it where an episode begins."""

    def __init__(self, key, keep, **spec):
        super().__init__(**spec)
        self.key, self.keep, self.kept = key, keep, {}

    def infer_batch(self, observations):
        chunks = []
        for row in observations:
            before = None if row.step == 0 else self.kept.get(self.key(row))
            self.kept[self.key(row)] = self.keep(before, row)
            chunks.append(ActionChunk(np.full((2, 7), self.kept[self.key(row)], np.float32)))
        return chunks


def decaying(before, row):
    return 0.9 * (before or 0) + row.arrays[STATE][0]


def of_the_first(before, row):
    return row.arrays[STATE][0] if before is None else before


class TurningTo(Rows):
    """Keeps the first frame since it was last asked about another episode, whatever the step."""

    asked, frame = None, None

    def infer_batch(self, observations):
        chunks = []
        for row in observations:
            if self.asked != (row.task_id, row.init_state_id):
                self.asked, self.frame = (row.task_id, row.init_state_id), row.arrays[STATE][0]
            chunks.append(ActionChunk(np.full((2, 7), self.frame, np.float32)))
        return chunks


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize(
    ("key", "keep"),
    [
        (lambda _: 0, decaying),
        (lambda _: 0, of_the_first),
        (lambda row: (row.task_id, row.init_state_id), decaying),
        (lambda row: (row.task_id, row.init_state_id), of_the_first),
    ],
    ids=["a recurrent one", "one first frame", "one per episode", "one first frame per episode"],
)
def test_a_policy_that_remembers_from_an_episodes_first_step_on_is_refused(batch_size, key, keep):
    with pytest.raises(SetupError, match=r"when .*episode|when its later step.*goes into the chunk's policy_state"):
        prove(Remembering(key, keep), reproducible(batch_size))


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_policy_that_begins_anew_whenever_it_is_asked_about_another_episode_is_refused(batch_size):
    with pytest.raises(SetupError, match="when another episode began before its later step"):
        prove(TurningTo(), reproducible(batch_size))


def test_a_policy_whose_memory_travels_with_the_request_is_not():
    class Carrying(Rows):
        def infer_batch(self, observations):
            before = [np.frombuffer(row.policy_state or bytes(8))[0] for row in observations]
            values = [decaying(b, row) for b, row in zip(before, observations, strict=True)]
            return [ActionChunk(np.full((2, 7), v, np.float32), np.float64(v).tobytes()) for v in values]

    prove(Carrying(), reproducible(1))
    prove(Carrying(), reproducible(3))


@pytest.mark.parametrize("state_dim", [None, 8, 9, 14])
def test_trial_observations_have_as_many_state_numbers_as_the_policy_reads(state_dim):
    class Reading(Rows):
        def infer_batch(self, observations):
            assert {row.arrays[STATE].shape for row in observations} == {(2, state_dim or 8)}
            return super().infer_batch(observations)

    prove(Reading(state_dim=state_dim, n_obs_steps=2), reproducible(2))


def test_a_policy_that_promises_nothing_is_only_tried():
    prove(Rows(SINNERS["its own memory"][0], batch_invariant=True, is_reproducible=False), reproducible(1))
    with pytest.raises(SetupError, match="made-up observation, got infer_batch: chunk 0: actions"):
        prove(Rows(lambda *_: np.nan, is_reproducible=False), reproducible(1))


def test_too_little_memory_for_the_one_size_is_a_set_up_error():
    with pytest.raises(SetupError, match=r"memory for a forward of 8 rows, got MemoryError; lower serving\.batch_size"):
        prove(Rows(limit=4), reproducible(8))


def test_throughput_takes_the_promise_of_bytes_away_and_says_so():
    free = BatchingSection(determinism="throughput")
    served = served_spec(spec_of(), free)
    assert not served.is_reproducible
    assert "no bytes are promised" in served.remarks[-1]
    assert served_spec(spec_of(batch_invariant=True), free).is_reproducible
    assert served_spec(spec_of(), reproducible(4)) == spec_of()


def test_a_batch_size_in_throughput_mode_is_refused():
    with pytest.raises(ConfigError, match=r"serving\.batch_size: expected nothing in throughput mode"):
        load_config("first_light", ["serving.determinism=throughput", "serving.batch_size=4"])


@given(st.integers(1, 64), st.integers(1, 64))
def test_buckets_are_few_and_hold_what_they_must(limit, count):
    sizes = BatchSizes(BatchingSection(determinism="throughput", max_batch_size=limit), spec_of())
    count = min(count, limit)
    assert count <= sizes.rows(count) <= min(limit, 2 * count)
    assert len(sizes.buckets()) <= limit.bit_length() + 1


class Clock:
    """Seconds that pass by the rows of the forwards."""

    def __init__(self, policy, cost):
        self.policy, self.cost = policy, cost

    def __call__(self):
        return sum(self.cost(size) for size in self.policy.sizes)


@pytest.mark.parametrize(
    ("cost", "limit", "largest"),
    [
        (lambda size: 20 + 0.5 * size, 10_000, 64),  # worth it up to the limit
        (lambda size: 20 + 0.5 * size, 20, 16),  # memory ends it
        (lambda size: size, 10_000, 1),  # nothing is gained
        (lambda size: max(8, size), 10_000, 8),  # a device with room for eight
    ],
)
def test_the_largest_useful_batch_is_measured(cost, limit, largest):
    policy = Rows(limit=limit)
    batching = BatchingSection(determinism="throughput", max_batch_size=64)
    assert largest_useful_batch(policy, batching, Clock(policy, cost)) == largest


def ask_all(policy, batching, count):
    async def run():
        with ThreadPoolExecutor(1) as executor:
            batcher = Batcher(policy, batching, executor)
            rows = [Observation({STATE: np.zeros(8, np.float32)}, "t", noise_seed=seed) for seed in range(count)]
            return await asyncio.gather(*map(batcher.infer, rows), return_exceptions=True)

    return asyncio.run(run())


def test_out_of_memory_halves_the_batch_and_loses_nothing(caplog):
    policy = Rows(limit=5)
    answers = ask_all(policy, BatchingSection(determinism="throughput"), 40)
    assert [answer.actions[0, 0] for answer in answers] == list(range(40))
    assert max(policy.sizes[-4:]) <= 5
    assert "out of memory at 64 rows; at most 32" in caplog.text


class Held:
    """Memory on a device, as long as anything refers to it."""

    live = 0

    def __init__(self):
        Held.live += 1

    def __del__(self):
        Held.live -= 1


@pytest.mark.parametrize(
    "said", ["", "CUDA error: out of memory", "RESOURCE_EXHAUSTED: Out of memory while", "CUBLAS_STATUS_ALLOC_FAILED"]
)
def test_what_a_forward_had_when_memory_ran_out_is_free_for_the_next(said):
    class Holding(Rows):
        """Memory is for ten rows."""

        def infer_batch(self, observations):
            held = [Held() for _ in observations]
            if Held.live > 10:
                raise RuntimeError(said) if said else MemoryError
            assert held
            return super().infer_batch(observations)

    policy = Holding()
    answers = ask_all(policy, BatchingSection(determinism="throughput"), 40)
    assert [answer.actions[0, 0] for answer in answers] == list(range(40))
    assert max(policy.sizes) == 8
    assert Held.live == 0


def test_out_of_memory_in_reproducible_mode_is_said_and_not_mended_in_silence():
    answers = ask_all(Rows(limit=3), reproducible(4), 8)
    assert {type(answer) for answer in answers} == {SetupError}


def test_every_forward_is_padded_to_the_one_size_and_padding_is_not_delivered():
    policy = Rows(lambda s, i, seeds: s)
    answers = ask_all(policy, reproducible(4), 7)
    assert [answer.actions[0, 0] for answer in answers] == list(range(7))
    assert set(policy.sizes) == {4}


class Staged(Rows):
    """Stages a row by naming it; some rows cannot be staged."""

    def stage(self, observation):
        if observation.noise_seed == 3:
            raise ValueError("torn")
        return (observation, "staged")

    def infer_staged(self, rows):
        assert all(mark == "staged" for _, mark in rows)
        return self.infer_batch([observation for observation, _ in rows])


def test_rows_are_staged_and_one_that_cannot_be_fails_alone():
    answers = ask_all(Staged(), reproducible(4), 6)
    assert "stage raised ValueError: torn" in str(answers[3])
    assert [answers[i].actions[0, 0] for i in (0, 1, 2, 4, 5)] == [0, 1, 2, 4, 5]


@pytest.mark.parametrize("which", [-1, 0], ids=["the latest row", "rows in a queue"])
def test_a_policy_that_keeps_in_itself_what_it_staged_is_refused(which):
    class Keeping(Rows):
        """Adds to an answer a state that it keeps, as LeRobot's relative actions do: that of the wrong row."""

        def __init__(self):
            super().__init__()
            self.kept = []

        def stage(self, observation):
            self.kept = [*self.kept, observation][-2:]
            return observation

        def infer_staged(self, rows):
            kept = float(self.kept[which].arrays[STATE][0])
            self.kept = self.kept[1:] if which == 0 else self.kept
            return [ActionChunk(c.actions + kept) for c in super().infer_batch(rows)]

        def infer_batch(self, observations):
            return self.infer_staged([self.stage(row) for row in observations])

    with pytest.raises(SetupError, match=r"apart when another is staged before it is answered; let stage keep nothing"):
        prove(Keeping(), reproducible(1))


def test_a_policy_that_stages_what_it_needs_of_each_row_passes_in_whatever_order_rows_are_answered():
    class Carrying(Rows):
        def stage(self, observation):
            return observation, float(observation.arrays[STATE][0])

        def infer_staged(self, rows):
            chunks = super().infer_batch([observation for observation, _ in rows])
            return [ActionChunk(c.actions + kept) for c, (_, kept) in zip(chunks, rows, strict=True)]

    prove(Carrying(), reproducible(1))
    prove(Carrying(), reproducible(3))


@pytest.mark.parametrize("is_short_for_good", [False, True])
def test_a_row_for_which_memory_ran_out_beside_a_forward_is_staged_again_after_it(is_short_for_good):
    class Short(Staged):
        """Memory is for no row beside a forward; or for row 3 never."""

        def __init__(self):
            super().__init__()
            self.tries = Counter()

        def stage(self, observation):
            self.tries[observation.noise_seed] += 1
            if self.tries[observation.noise_seed] == 1 or (is_short_for_good and observation.noise_seed == 3):
                raise RuntimeError("CUDA error: out of memory")
            return (observation, "staged")

    policy = Short()
    answers = ask_all(policy, reproducible(4), 6)
    assert policy.tries == dict.fromkeys(range(6), 2)
    told = answers.pop(3) if is_short_for_good else None
    assert [answer.actions[0, 0] for answer in answers] == [i for i in range(6) if not is_short_for_good or i != 3]
    assert told is None or "stage raised RuntimeError: CUDA error: out of memory" in str(told)


@pytest.mark.parametrize(
    ("spec", "batch_size"), [({}, 1), ({}, 64), ({"takes_prefix": True}, 8), ({"batch_invariant": True}, 1)]
)
def test_the_proof_takes_so_few_forwards_that_a_slow_policy_starts_soon(spec, batch_size):
    policy = Rows(**spec)
    prove(policy, reproducible(batch_size))
    assert len(policy.sizes) <= 35  # at half a second each, less than 20 s


def test_that_a_policys_own_server_changed_is_told_as_it_is():
    def changed(*_):
        raise PolicyChanged("another one")

    assert {type(answer) for answer in ask_all(Rows(changed), reproducible(2), 3)} == {PolicyChanged}
