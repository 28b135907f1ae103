"""How often pages look at a run: all together a few times a second, however many they are."""

from llmft_core.ui.pace import BEATS, LOOKS, Pace


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def watched(pages: int, seconds: float) -> tuple[dict[str, float], int]:
    """The beats of so many pages after a while of looking, and how often they looked in the second half of it."""
    clock = Clock()
    pace, beats, due, looks = Pace(clock), {}, {f"page {n}": 100.0 + n / pages for n in range(pages)}, 0
    while clock.now < 100 + seconds:
        page = min(due, key=due.get)
        clock.now = due[page]
        looks += clock.now >= 100 + seconds / 2
        beats[page] = pace.beat(page, beats.get(page, BEATS[0]))
        due[page] = clock.now + beats[page]
    return beats, looks


def test_a_few_pages_look_each_second():
    assert set(watched(LOOKS, 10)[0].values()) == {1.0}


def test_a_class_looks_more_seldom_and_all_alike():
    beats, looks = watched(20, 60)
    assert set(beats.values()) == {10.0}
    assert looks <= 30 * LOOKS + 20


def test_however_many_they_are_each_looks_now_and_then():
    assert set(watched(500, 120)[0].values()) == {BEATS[-1]}


def test_pages_that_were_closed_count_no_more():
    clock = Clock()
    pace = Pace(clock)
    for n in range(20):
        pace.beat(f"page {n}", 1.0)
    assert pace.beat("page 0", 1.0) == 10.0
    clock.now += 3 * 10.0
    assert pace.beat("page 0", 10.0) == 1.0


def test_a_page_that_looks_slowly_is_not_thought_closed():
    clock = Clock()
    pace = Pace(clock)
    pace.beat("slow", 20.0)
    clock.now += 40.0
    for n in range(LOOKS):
        pace.beat(f"page {n}", 1.0)
    assert pace.beat("page 0", 1.0) == 2.0
