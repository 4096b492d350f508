"""Every instruction of LIBERO's four suites gives the goals of its BDDL file, resolved by the scene's names."""

import pytest

from ray_eval.errors import ContractError
from ray_eval.policies.oracle.plan import Place, Slide, TurnOn, goals_of

GROCERIES = "basket_1 alphabet_soup_1 bbq_sauce_1 butter_1 chocolate_pudding_1 cream_cheese_1 ketchup_1 milk_1"
BOWLS = "akita_black_bowl_1 plate_1 akita_black_bowl_2 cookies_1 flat_stove_1 glazed_rim_porcelain_ramekin_1"
CABINET = (
    "wooden_cabinet_1 wooden_cabinet_1_cabinet_bottom wooden_cabinet_1_cabinet_top joint:wooden_cabinet_1_top_level"
)
KITCHEN = f"akita_black_bowl_1 cream_cheese_1 flat_stove_1 plate_1 wine_bottle_1 wine_rack_1 {CABINET}"
WHITE = "white_cabinet_1 wine_bottle_1 wine_rack_1 white_cabinet_1_cabinet_bottom joint:white_cabinet_1_bottom_level"

OBJECT = [
    (f"pick up the {noun} and place it in the basket", f"{item} {GROCERIES}", [f"{item} in basket_1"])
    for noun, item in (
        ("alphabet soup", "alphabet_soup_1"),
        ("cream cheese", "cream_cheese_1"),
        ("salad dressing", "salad_dressing_1"),
        ("bbq sauce", "bbq_sauce_1"),
        ("ketchup", "ketchup_1"),
        ("tomato sauce", "tomato_sauce_1"),
        ("butter", "butter_1"),
        ("milk", "milk_1"),
        ("chocolate pudding", "chocolate_pudding_1"),
        ("orange juice", "orange_juice_1"),
    )
]
SPATIAL = [
    (
        f"pick up the black bowl {place} and place it on the plate",
        f"{BOWLS} {CABINET}",
        ["akita_black_bowl_1 on plate_1"],
    )
    for place in (
        "between the plate and the ramekin",
        "next to the ramekin",
        "from table center",
        "on the cookie box",
        "in the top drawer of the wooden cabinet",
        "on the ramekin",
        "next to the cookie box",
        "on the stove",
        "next to the plate",
        "on the wooden cabinet",
    )
]
GOAL = [
    (task, f"{interest} {KITCHEN}", goals)
    for task, interest, goals in (
        ("open the middle drawer of the cabinet", "wooden_cabinet_1_middle_region", ["open wooden_cabinet_1 middle"]),
        ("put the bowl on the stove", "akita_black_bowl_1", ["akita_black_bowl_1 on flat_stove_1 cook"]),
        ("put the wine bottle on top of the cabinet", "wine_bottle_1", ["wine_bottle_1 on wooden_cabinet_1 side"]),
        (
            "open the top drawer and put the bowl inside",
            "akita_black_bowl_1 wooden_cabinet_1_top_region",
            ["open wooden_cabinet_1 top", "akita_black_bowl_1 in wooden_cabinet_1 top"],
        ),
        ("put the bowl on top of the cabinet", "akita_black_bowl_1", ["akita_black_bowl_1 on wooden_cabinet_1 side"]),
        ("push the plate to the front of the stove", "plate_1", ["push plate_1"]),
        ("put the cream cheese in the bowl", "cream_cheese_1", ["cream_cheese_1 in akita_black_bowl_1"]),
        ("turn on the stove", "flat_stove_1", ["turn on flat_stove_1"]),
        ("put the bowl on the plate", "akita_black_bowl_1", ["akita_black_bowl_1 on plate_1"]),
        ("put the wine bottle on the rack", "wine_bottle_1", ["wine_bottle_1 on wine_rack_1"]),
    )
]
TEN = [
    (
        "put both the alphabet soup and the tomato sauce in the basket",
        "alphabet_soup_1 tomato_sauce_1 basket_1 butter_1 milk_1",
        ["alphabet_soup_1 in basket_1 slot 1", "tomato_sauce_1 in basket_1 slot 2"],
    ),
    (
        "put both the cream cheese box and the butter in the basket",
        "cream_cheese_1 butter_1 basket_1 milk_1",
        ["cream_cheese_1 in basket_1 slot 1", "butter_1 in basket_1 slot 2"],
    ),
    (
        "turn on the stove and put the moka pot on it",
        "moka_pot_1 flat_stove_1 chefmate_8_frypan_1 flat_stove_1_button",
        ["turn on flat_stove_1", "moka_pot_1 on flat_stove_1 cook"],
    ),
    (
        "put the black bowl in the bottom drawer of the cabinet and close it",
        f"akita_black_bowl_1 {WHITE}",
        ["akita_black_bowl_1 in white_cabinet_1 bottom", "close white_cabinet_1 bottom"],
    ),
    (
        "put the white mug on the left plate and put the yellow and white mug on the right plate",
        "plate_1 plate_2 white_yellow_mug_1 porcelain_mug_1 red_coffee_mug_1",
        ["porcelain_mug_1 on plate_1", "white_yellow_mug_1 on plate_2"],
    ),
    (
        "pick up the book and place it in the back compartment of the caddy",
        "black_book_1 desk_caddy_1 white_yellow_mug_1",
        ["black_book_1 in desk_caddy_1 back"],
    ),
    (
        "put the white mug on the plate and put the chocolate pudding to the right of the plate",
        "plate_1 chocolate_pudding_1 porcelain_mug_1 red_coffee_mug_1",
        ["porcelain_mug_1 on plate_1", "chocolate_pudding_1 right_of plate_1"],
    ),
    (
        "put both the alphabet soup and the cream cheese box in the basket",
        "alphabet_soup_1 cream_cheese_1 basket_1 ketchup_1",
        ["alphabet_soup_1 in basket_1 slot 1", "cream_cheese_1 in basket_1 slot 2"],
    ),
    (
        "put both moka pots on the stove",
        "moka_pot_1 moka_pot_2 flat_stove_1 flat_stove_1_button",
        ["moka_pot_1 on flat_stove_1 cook slot 1", "moka_pot_2 on flat_stove_1 cook slot 2"],
    ),
    (
        "put the yellow and white mug in the microwave and close it",
        "white_yellow_mug_1 microwave_1 porcelain_mug_1 microwave_1_microdoorroot",
        ["white_yellow_mug_1 in microwave_1", "close microwave_1 door"],
    ),
]


def words(goal):
    if isinstance(goal, Place):
        slot = f"slot {goal.slot}" if goal.slot else ""
        return " ".join(w for w in (goal.item, goal.relation, goal.target, goal.part, slot) if w)
    if isinstance(goal, Slide):
        return f"{'open' if goal.is_open else 'close'} {goal.fixture} {goal.part}"
    return f"turn on {goal.fixture}" if isinstance(goal, TurnOn) else f"push {goal.item}"


def names_of(text):
    return tuple(dict.fromkeys(text.split()))


@pytest.mark.parametrize(("task", "names", "goals"), OBJECT + SPATIAL + GOAL + TEN)
def test_an_instruction_gives_its_goals(task, names, goals):
    assert [words(g) for g in goals_of(task, names_of(names))] == goals


def test_the_first_of_several_bodies_is_meant():
    names = ("akita_black_bowl_2", "plate_1", "akita_black_bowl_1", "plate_2")
    (goal,) = goals_of("pick up the black bowl next to the plate and place it on the plate", names)
    assert (goal.item, goal.target) == ("akita_black_bowl_2", "plate_1")


def test_case_blanks_and_a_full_stop_do_not_matter():
    assert goals_of(" Put  the bowl on the plate.", ("plate_1", "akita_black_bowl_1")) == (
        Place("akita_black_bowl_1", "plate_1", "on"),
    )


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("sing a song", "expected one of LIBERO's patterns, got 'sing a song'"),
        ("put the teapot on the plate", r"expected a body for 'teapot' \(teapot\), got plate_1"),
        ("", "expected one of LIBERO's patterns"),
    ],
)
def test_what_is_not_understood_is_a_contract_error(task, said):
    with pytest.raises(ContractError, match=said):
        goals_of(task, ("plate_1", "akita_black_bowl_1"))
