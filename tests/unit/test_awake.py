from ray_eval.awake import STILL_S, AwakeClock


def test_time_in_which_nobody_read_it_is_none():
    now = [1000.0]
    clock = AwakeClock(lambda: now[0])
    assert clock() == 0.0
    now[0] += STILL_S / 2
    assert clock() == STILL_S / 2
    now[0] += 3600.0
    assert clock() == 1.5 * STILL_S
    now[0] += 1.0
    assert clock() == 1.5 * STILL_S + 1.0
