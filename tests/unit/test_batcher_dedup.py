"""A request that comes again under its id is answered once."""

import asyncio

import pytest

from ray_eval.serving.dedup import AnswerCache, ReusedIdError


class ManualWork:
    """A computation that the test begins and ends."""

    def __init__(self):
        self.has_begun = False
        self.is_withdrawn = False
        self.answer = asyncio.get_running_loop().create_future()

    async def result(self):
        return await self.answer

    def withdraw(self):
        if self.has_begun:
            return False
        self.is_withdrawn = True
        self.answer.cancel()
        return True


class Works:
    """Counts how often the computation was started."""

    def __init__(self):
        self.started = []

    def __call__(self):
        self.started.append(ManualWork())
        return self.started[-1]


async def settle():
    for _ in range(5):
        await asyncio.sleep(0)


def cache_of(**limits):
    return AnswerCache(len, **limits)


def ask(cache, works, request_id="a", digest=b"1"):
    return asyncio.ensure_future(cache.answer(request_id, lambda: digest, works))


async def finished(cache, works, request_id, answer, digest=b"1"):
    task = ask(cache, works, request_id, digest)
    await settle()
    works.started[-1].answer.set_result(answer)
    return await task


def test_a_finished_answer_is_given_again():
    async def run():
        cache, works = cache_of(), Works()
        assert await finished(cache, works, "a", b"answer") == b"answer"
        assert await ask(cache, works) == b"answer"
        assert len(works.started) == 1

    asyncio.run(run())


def test_a_repeat_joins_the_computation_under_way():
    async def run():
        cache, works = cache_of(), Works()
        tasks = [ask(cache, works), ask(cache, works)]
        await settle()
        works.started[0].answer.set_result(b"x")
        assert await asyncio.gather(*tasks) == [b"x", b"x"]
        assert len(works.started) == 1

    asyncio.run(run())


@pytest.mark.parametrize("is_finished", [True, False])
def test_another_content_under_the_same_id_is_refused(is_finished):
    async def run():
        cache, works = cache_of(), Works()
        task = ask(cache, works)
        await settle()
        if is_finished:
            works.started[0].answer.set_result(b"x")
            await task
        with pytest.raises(ReusedIdError, match="'a'"):
            await ask(cache, works, digest=b"2")
        task.cancel()

    asyncio.run(run())


def test_a_failure_is_not_kept():
    async def run():
        cache, works = cache_of(), Works()
        task = ask(cache, works)
        await settle()
        works.started[0].answer.set_exception(ValueError("once"))
        with pytest.raises(ValueError, match="once"):
            await task
        assert await finished(cache, works, "a", b"x") == b"x"
        assert len(works.started) == 2

    asyncio.run(run())


def test_the_last_caller_to_leave_withdraws_what_has_not_begun():
    async def run():
        cache, works = cache_of(), Works()
        first, second = ask(cache, works), ask(cache, works)
        await settle()
        first.cancel()
        await settle()
        assert not works.started[0].is_withdrawn
        second.cancel()
        await settle()
        assert works.started[0].is_withdrawn
        assert await finished(cache, works, "a", b"x") == b"x"
        assert len(works.started) == 2

    asyncio.run(run())


def test_an_answer_whose_callers_left_during_the_forward_is_kept_for_the_repeat():
    async def run():
        cache, works = cache_of(), Works()
        task = ask(cache, works)
        await settle()
        works.started[0].has_begun = True
        task.cancel()
        await settle()
        works.started[0].answer.set_result(b"late")
        await settle()
        assert await ask(cache, works) == b"late"
        assert len(works.started) == 1

    asyncio.run(run())


@pytest.mark.parametrize("limits", [{"max_count": 2}, {"max_bytes": 9}])
def test_the_least_recently_used_answers_go_first(limits):
    async def run():
        cache, works = cache_of(**limits), Works()
        await finished(cache, works, "a", b"aaaa")
        await finished(cache, works, "b", b"bbbb")
        await ask(cache, works, "a")
        await finished(cache, works, "c", b"cccc")
        await ask(cache, works, "a")
        assert len(works.started) == 3
        again = ask(cache, works, "b")
        await settle()
        assert len(works.started) == 4
        again.cancel()

    asyncio.run(run())


def test_an_answer_larger_than_the_limit_is_given_and_not_kept():
    async def run():
        cache, works = cache_of(max_bytes=3), Works()
        assert await finished(cache, works, "a", b"aaaa") == b"aaaa"
        assert await finished(cache, works, "a", b"aaaa") == b"aaaa"
        assert len(works.started) == 2

    asyncio.run(run())
