"""The handler of all dialects: what it makes of batches that are read in several parts."""

import json

from tests.adapters.test_logspace import reading


def batch(size: int, invalid: set[int]) -> list[dict[str, str]]:
    ids = ("" if at in invalid else f"{at}" for at in range(size))
    return [reading(id=one, system=f"web-{at}") for at, one in enumerate(ids)]


async def test_a_problem_in_a_large_batch_has_the_index_of_its_element(running):
    async with running({"logspace": {"on_invalid": "refuse"}}) as gateway:
        answer = await gateway.logspace(batch(650, {3, 199, 200, 431, 649}))

    assert 400 == answer.status
    assert [f"[{at}].id" for at in (3, 199, 200, 431, 649)] == [
        problem["path"] for problem in answer.json["parameters"]["errors"]
    ]


async def test_the_events_of_a_large_batch_are_stored_in_their_order(gateway):
    answer = await gateway.logspace(batch(650, {431}))
    stored = await gateway.events(kind="event")
    [rejected] = await gateway.events(kind="rejected")

    assert (202, "1") == (answer.status, answer.headers["Gateway-Rejected"])
    assert [f"{at}" for at in range(650) if at != 431] == [one["data"]["id"] for one in stored]
    assert "" == json.loads(rejected["data"]["raw"])["id"]
