"""A growing file in an object store: whole, in order, by one writer, whatever the store loses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_eval.driver import anywhere
from ray_eval.driver.anywhere import CLAIM_NAME, Claim, RemoteFolder
from ray_eval.driver.locks import Held
from ray_eval.errors import ConfigError, LedgerError
from ray_eval.report.segments import PAUSES_S, Segments


@pytest.fixture(autouse=True, scope="module")
def _no_beats_after_a_death():
    """A writer that dies here leaves its thread behind, which is to beat in nobody's later test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(anywhere, "BEAT_S", 1e6)
        yield


class Store:
    """Objects in memory; loses what it is told to lose, before or after it is done."""

    def __init__(self):
        self.objects = {}
        self.losing = []

    def _lost(self, when):
        if self.losing and self.losing[0] == when:
            self.losing.pop(0)
            raise ConnectionError("no answer")

    def create(self, name, content):
        self._lost("before")
        is_new = self.objects.setdefault(name, content) is content
        self._lost("after")
        return is_new

    def put(self, name, content):
        self.objects[name] = content

    def get(self, name):
        if name not in self.objects:
            raise FileNotFoundError(name)
        return self.objects[name]

    def names(self, below=""):
        return sorted(name for name in self.objects if name.startswith(below))

    def remove(self, name):
        self.objects.pop(name, None)


def segments(store):
    return Segments(store, "lines", "s3://bucket/run", sleep=lambda _: None)


@given(st.lists(st.sampled_from(["before", "after", "whole"])))
def test_every_line_is_there_once_and_in_order_whatever_answers_are_lost(faults):
    store = Store()
    writer = segments(store)
    for number, fault in enumerate(faults):
        store.losing = [fault] if fault != "whole" else []
        writer.append(b"%d\n" % number)
    assert segments(store).read(is_writer=False) == b"".join(b"%d\n" % number for number in range(len(faults)))


def test_a_store_that_stays_away_is_a_ledgers_error_that_names_the_place():
    store = Store()
    store.losing = ["before"] * (len(PAUSES_S) + 1)
    with pytest.raises(LedgerError, match="s3://bucket/run/lines: expected the store to answer"):
        segments(store).append(b"1\n")
    assert store.objects == {}


def test_of_two_writers_the_second_goes_on_and_the_first_stops_at_its_next_line():
    store = Store()
    first = segments(store)
    first.append(b"1\n")
    second = segments(store)
    second.read(is_writer=True)
    second.append(b"2\n")
    with pytest.raises(LedgerError, match="expected nobody else to write there"):
        first.append(b"lost\n")
    second.append(b"3\n")
    assert segments(store).read(is_writer=False) == b"1\n2\n3\n"


def test_a_torn_segment_is_cut_by_the_next_writer_and_left_alone_by_a_reader():
    store = Store()
    writer = segments(store)
    writer.append(b"1\n")
    writer.append(b"2\nhal")
    assert segments(store).read(is_writer=False) == b"1\n2\nhal"
    again = segments(store)
    assert again.read(is_writer=True) == b"1\n2\n"
    again.append(b"3\n")
    assert segments(store).read(is_writer=False) == b"1\n2\n3\n"


def test_a_segment_that_is_gone_is_said():
    store = Store()
    writer = segments(store)
    for number in range(3):
        writer.append(b"%d\n" % number)
    store.remove("lines.d/00000001")
    with pytest.raises(LedgerError, match="got none of number 1"):
        segments(store).read(is_writer=False)


def folder(store, path):
    return RemoteFolder(store, "s3://bucket/run", path, sleep=lambda _: None)


def test_what_is_written_in_one_copy_is_there_in_the_next(tmp_path):
    store = Store()
    first = folder(store, tmp_path / "a")
    first.open(is_resume=False)
    (tmp_path / "a" / "videos").mkdir(parents=True)
    (tmp_path / "a" / "videos" / "1.mp4").write_bytes(b"film")
    (tmp_path / "a" / ".lock").write_text("")
    first.writer("episodes.jsonl")(b"header\n")
    first.close()
    assert set(store.objects) == {"episodes.jsonl.d/00000000", "videos/1.mp4"}
    second = folder(store, tmp_path / "b")
    second.open(is_resume=True)
    assert (tmp_path / "b" / "videos" / "1.mp4").read_bytes() == b"film"
    assert (tmp_path / "b" / "episodes.jsonl").read_bytes() == b"header\n"
    second.close()


def test_a_place_is_new_or_there_as_it_is_said_to_be(tmp_path):
    store = Store()
    with pytest.raises(ConfigError, match="found none"):
        folder(store, tmp_path / "a").open(is_resume=True)
    store.put("config.yaml", b"")
    with pytest.raises(ConfigError, match="--resume s3://bucket/run"):
        folder(store, tmp_path / "a").open(is_resume=False)
    assert CLAIM_NAME not in store.objects


def test_a_place_that_is_written_to_is_refused_and_that_of_a_dead_process_is_taken_over():
    store = Store()
    first = Claim(store, "s3://bucket/run")
    with pytest.raises(Held, match="which still does"):
        Claim(store, "s3://bucket/run")
    first.release()
    assert store.objects == {}
    store.put(CLAIM_NAME, b'{"host": "%s", "pid": 0, "since": "1", "id": "x"}' % first._who["host"].encode())
    Claim(store, "s3://bucket/run").release()
    assert store.objects == {}


def test_a_claim_of_another_host_is_alive_while_its_beat_goes_on():
    store = Store()

    def beat(_seconds):
        store.put(CLAIM_NAME, b'{"host": "elsewhere", "pid": 1, "id": "x", "beat": 2}')

    store.put(CLAIM_NAME, b'{"host": "elsewhere", "pid": 1, "id": "x", "beat": 1}')
    with pytest.raises(Held, match="process 1 on elsewhere"):
        Claim(store, "s3://bucket/run", sleep=beat)
    Claim(store, "s3://bucket/run", sleep=lambda _: None).release()
    assert store.objects == {}
