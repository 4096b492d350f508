"""Images on a kept background against robosuite's own, in small scenes made of what could go wrong."""

import mujoco
import numpy as np
import pytest

from ray_eval.envs.libero.snapshot import take_snapshot

ASSETS = """
<texture name="sky" type="skybox" builtin="gradient" width="32" height="32" rgb1=".4 .6 .8" rgb2="0 0 0"/>
<texture name="checks" type="2d" builtin="checker" width="64" height="64" rgb1=".9 .5 .2" rgb2=".2 .3 .6"/>
<material name="checks" texture="checks" texrepeat="6 6"/>
<material name="steel" rgba=".5 .5 .6 1" reflectance=".6" specular=".8" shininess=".7"/>
<material name="paint" rgba=".2 .7 .3 1" specular=".5" shininess=".4"/>
<mesh name="rock" vertex="0 0 0 .2 0 0 0 .25 0 0 0 .3 .15 .18 .2"/>
"""
ROOM = '<geom name="floor" type="plane" size="2 2 .1" material="checks"/>'
MOVING = """
<body name="rock" pos="-.3 .5 .15"><freejoint/><geom type="mesh" mesh="rock" material="paint"/></body>
<body name="hand" pos=".1 .35 .6"><freejoint/><geom type="box" size=".12 .1 .08" rgba=".9 .2 .1 1"/></body>
"""
FIXTURES = """
<body name="shelf" pos=".55 .6 .3"><geom type="box" size=".15 .15 .3" material="paint"/></body>
<body name="stove" pos="0 .1 .1">
  <geom name="stove" type="box" size=".4 .3 .1" material="{steel}"/>
  <site name="flame" type="sphere" size=".12" pos="0 0 .2" rgba="1 .5 0 {flame}"/>
</body>
<body name="plate" pos=".2 .1 .24"><geom type="cylinder" size=".08 .02" rgba="1 1 1 1"/></body>
"""


ABOVE = 'pos="0 -1.2 1.3" xyaxes="1 0 0 0 .74 .67"'
BELOW = 'pos="0 -.9 .19" xyaxes="1 0 0 0 .1 .99"'
"""The stove's top is at .2 m."""


def scene(*bodies, shadow="false", camera=ABOVE):
    return f"""
    <mujoco>
      <default><geom group="1"/></default>
      <asset>{ASSETS}</asset>
      <worldbody>
        <light name="lamp" pos="0 0 3" dir=".1 .1 -1" castshadow="{shadow}"/>
        <camera name="front" {camera}/>
        {"".join(bodies)}
      </worldbody>
    </mujoco>
    """


def fixtures(steel="steel", flame=0):
    return FIXTURES.format(steel=steel, flame=flame)


KITCHEN = scene(ROOM, MOVING, fixtures())


class Pair:
    """A scene drawn by our renderer, and by robosuite in a context of its own."""

    def __init__(self, mjcf):
        from robosuite.utils.binding_utils import MjSim
        from robosuite_images import RobosuiteImages

        from ray_eval.envs.libero.rendering import SceneRenderer

        self.sim = MjSim.from_xml_string(mjcf)
        self.model, self.data = self.sim.model._model, self.sim.data._data
        self.ours, self.plain = SceneRenderer(self.sim.model), RobosuiteImages(self.model)

    def images(self, size_px=64):
        """(ours, robosuite's)"""
        mujoco.mj_forward(self.model, self.data)
        snapshot = take_snapshot(self.model, self.data)
        ours = self.ours.render(snapshot, "front", size_px)
        return ours, self.plain.image(snapshot, "front", size_px)

    def check(self, size_px=64):
        ours, plain = self.images(size_px)
        assert np.array_equal(ours, plain), f"{np.any(ours != plain, axis=2).sum()} pixels differ"
        return plain

    def move(self, body, dx=0.0, dy=0.0, dz=0.0):
        joint = self.model.body(body).jntadr[0]
        self.data.qpos[self.model.jnt_qposadr[joint] :][:3] += (dx, dy, dz)

    @property
    def background(self):
        (view,) = self.ours._views.values()
        return view._background

    @property
    def kept(self):
        """Names of the bodies whose geoms are in the kept image that is in use."""
        found = self.background._resting or self.background._fixed
        return {self.model.body(self.model.geom_bodyid[geom]).name for geom in np.flatnonzero(found.is_kept)}

    def close(self):
        self.ours.close()
        self.plain.close()


@pytest.fixture
def pair(simulator):
    made = []

    def make(mjcf):
        made.append(Pair(mjcf))
        return made[-1]

    yield make
    for each in made:
        each.close()


STILL = {"world", "shelf", "stove", "plate"}


@pytest.mark.parametrize("steel", ["steel", "paint"], ids=["mirror", "no mirror"])
@pytest.mark.parametrize("camera", [ABOVE, BELOW], ids=["from above", "from below the stove's top"])
def test_what_moves_is_drawn_over_what_stands_still(pair, steel, camera):
    room = pair(scene(ROOM, MOVING, fixtures(steel), camera=camera))
    images = set()
    for step in range(12):
        room.move("hand", dx=0.03 * (-1) ** (step // 4), dz=-0.04)
        images.add(room.check().tobytes())
    assert len(images) == 12
    assert room.kept >= STILL
    assert "hand" not in room.kept


def test_what_has_come_to_rest_is_kept_until_it_moves(pair):
    room = pair(KITCHEN)
    for _ in range(3):
        room.move("hand", dz=-0.02)
        room.check()
    assert room.kept == STILL
    room.background._stillness._costs[room.model.body("rock").geomadr] = 1_000_000  # so that keeping it is worth it
    for _ in range(4):
        room.move("hand", dz=-0.02)
        room.check()
    assert room.kept == {*STILL, "rock"}
    room.move("rock", dx=0.1)
    room.check()
    room.check()


COPLANAR = """
<body name="early" pos="0 0 .2"><freejoint/><geom type="box" size=".3 .2 .1" rgba="1 0 0 1"/></body>
<body name="late" pos=".05 0 .2"><geom type="box" size=".2 .3 .1" rgba="0 1 0 1"/></body>
<body name="last" pos=".15 .2 .2"><geom type="box" size=".2 .2 .1" rgba="0 0 1 1"/></body>
"""


def test_of_two_equally_deep_geoms_the_later_one_is_seen(pair):
    room = pair(scene(ROOM, COPLANAR))
    first = room.check()
    room.move("early", dx=-0.02)
    second = room.check()
    assert room.kept == {"world", "late", "last"}
    assert not np.array_equal(first, second)


INLAY = '<body name="inlay" pos="0 .1 .15">{}<geom type="box" size=".1 .1 .05" rgba="0 0 1 1"/></body>'


def test_a_geom_as_deep_as_the_mirror_is_seen(pair):
    room = pair(scene(ROOM, MOVING, fixtures(), INLAY.format("")))
    for _ in range(3):
        room.move("hand", dz=-0.03)
        room.check()
    assert "inlay" in room.kept


@pytest.fixture
def eager(monkeypatch):
    """What lies still is kept at once, however little it is."""
    from ray_eval.envs.libero.keeping import Stillness

    monkeypatch.setattr(
        Stillness, "is_worth_keeping", lambda _, wanted, is_drawn, _is_reflected: (wanted & is_drawn).any()
    )


def test_of_two_equally_deep_geoms_the_later_one_is_seen_where_the_earlier_one_lies_still(pair, eager):
    room = pair(scene(ROOM, COPLANAR))
    for _ in range(2):
        room.check()
        assert room.kept == {"world", "early", "late", "last"}
    room.move("early", dx=-0.02)
    for _ in range(2):
        room.check()
    assert room.kept == {"world", "early", "late", "last"}


@pytest.mark.parametrize("joint", ["", "<freejoint/>"], ids=["of the world", "lying there"])
@pytest.mark.parametrize("is_first", [True, False])
def test_of_what_lies_still_one_as_deep_as_the_mirror_is_seen(pair, eager, joint, is_first):
    bodies = [INLAY.format(joint), fixtures()]
    room = pair(scene(ROOM, MOVING, *bodies[:: 1 if is_first else -1]))
    for _ in range(4):
        room.move("hand", dz=-0.03)
        room.check()
    assert room.kept == {*STILL, "rock", "inlay"}


@pytest.mark.parametrize("steel", ["steel", "paint"], ids=["mirror", "no mirror"])
def test_what_lies_still_when_an_episode_begins_is_kept_from_its_first_image_on(pair, eager, steel):
    room = pair(scene(ROOM, MOVING, fixtures(steel, flame=0.3)))
    for _ in range(3):
        room.check()
        assert room.kept == {*STILL, "rock", "hand"}
        room.move("hand", dx=-0.03)
        room.check()
        assert room.kept == {*STILL, "rock"}
        room.move("rock", dx=0.1)
        room.move("hand", dx=-0.03)
        room.ours.begin_episode(room.sim.model)


def test_what_an_actuator_moves_is_not_expected_to_lie_still(pair, eager):
    arm = """
    <body name="base" pos="-.3 .1 .5"><geom type="box" size=".05 .05 .05"/>
      <body name="link"><joint name="turn" axis="0 0 1"/><geom type="box" size=".2 .03 .03" pos=".2 0 0"/>
        <body name="tool"><geom type="sphere" size=".05" pos=".3 0 .1"/></body>
      </body>
    </body>"""
    motor = '<actuator><motor joint="turn"/></actuator></mujoco>'
    room = pair(scene(ROOM, MOVING, fixtures(), arm).replace("</mujoco>", motor))
    room.check()
    assert room.kept == {*STILL, "base", "rock", "hand"}
    room.check()
    assert room.kept == {*STILL, "base", "rock", "hand", "link", "tool"}


def test_a_flame_is_not_kept(pair):
    room = pair(scene(ROOM, MOVING, fixtures(flame=0.5)))
    burning = room.check()
    room.move("hand", dx=0.02)
    room.check()
    for alpha in (0, 0.7):
        room.model.site_rgba[:, 3] = alpha
        assert not np.array_equal(room.check(), burning)
    assert room.kept == STILL


def turned(model):
    model.cam_quat[0] = (0.93, 0.34, 0.02, 0.0)


CHANGES = {
    "the camera's place": lambda model: model.cam_pos.__setitem__((0, 0), 0.1),
    "the camera's direction": turned,
    "the angle of view": lambda model: model.cam_fovy.__setitem__(0, 50),
    "the near plane": lambda model: setattr(model.vis.map, "znear", 1),
    "a light's place": lambda model: model.light_pos.__setitem__((0, 0), 1),
    "a light's direction": lambda model: model.light_dir.__setitem__(0, (0.5, 0.3, -0.8)),
    "a light's colour": lambda model: model.light_diffuse.__setitem__(0, (0.2, 0.5, 0.9)),
    "a light's gloss": lambda model: model.light_specular.__setitem__(0, (0.9, 0.9, 0.9)),
    "a light that is out": lambda model: model.light_active.__setitem__(0, 0),
    "the headlight": lambda model: model.vis.headlight.diffuse.__setitem__(slice(None), (0.1, 0.9, 0.1)),
    "a material's colour": lambda model: model.mat_rgba.__setitem__((2, 0), 0.9),
    "a material's gloss": lambda model: model.mat_specular.__setitem__(2, 1),
    "a material's shine": lambda model: model.mat_shininess.__setitem__(2, 0.05),
    "a material's glow": lambda model: model.mat_emission.__setitem__(2, 0.5),
    "how much the mirror mirrors": lambda model: model.mat_reflectance.__setitem__(1, 0.9),
    "another material": lambda model: model.geom_matid.__setitem__(model.geom("stove").id, 2),
    "a geom's colour": lambda model: model.geom_rgba.__setitem__(model.geom("floor").id, (0.5, 1, 1, 1)),
    "a geom's size": lambda model: model.geom_size.__setitem__(model.geom("stove").id, (0.3, 0.2, 0.1)),
    "a geom's shape": lambda model: model.geom_type.__setitem__(model.body("plate").geomadr[0], 6),
    "a fixture's place": lambda model: model.body_pos.__setitem__((model.body("shelf").id, 0), 0.3),
    "a fixture's turn": lambda model: model.body_quat.__setitem__(model.body("shelf").id, (0.9, 0, 0, 0.436)),
    "a geom seen through": lambda model: model.geom_rgba.__setitem__(model.geom("floor").id, (1, 1, 1, 0.5)),
    "a geom that is not drawn": lambda model: model.geom_group.__setitem__(model.body("plate").geomadr[0], 0),
}


@pytest.fixture(scope="module")
def kitchen(simulator):
    room = Pair(KITCHEN)
    yield room
    room.close()


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_kept_image_is_not_used_where_it_would_look_otherwise(kitchen, change):
    model, near, headlight = kitchen.model, kitchen.model.vis.map.znear, kitchen.model.vis.headlight.diffuse.copy()
    arrays = {name: getattr(model, name) for name in dir(model) if not name.startswith("_")}
    kept = {name: array.copy() for name, array in arrays.items() if isinstance(array, np.ndarray)}
    kitchen.check()
    before = kitchen.check()
    assert kitchen.kept >= {"shelf", "stove", "plate"}
    try:
        change(model)
        after = kitchen.check()
        assert not np.array_equal(after, before)
        assert np.array_equal(kitchen.check(), after)
        assert np.array_equal(kitchen.check(), after)
    finally:
        for name, array in kept.items():
            arrays[name][...] = array
        model.vis.map.znear = near
        model.vis.headlight.diffuse[:] = headlight


def test_another_size_is_another_image(pair):
    room = pair(KITCHEN)
    for size_px in (64, 96, 64, 700, 64, 96, 700):
        room.move("hand", dx=0.01)
        assert room.check(size_px).shape == (size_px, size_px, 3)


def test_a_renderer_that_gets_another_model_takes_nothing_from_another_one(pair):
    one, other = pair(KITCHEN), pair(KITCHEN)
    for room in (one, other):
        room.check()
        room.check()
    other.ours._current_context()
    one.ours.begin_episode(pair(scene(ROOM, MOVING)).sim.model)
    assert not one.ours._views
    other.move("hand", dx=0.02)
    other.check()
    assert other.kept == STILL


MIRROR = '<body name="tray" pos=".4 -.2 .1"><freejoint/><geom type="box" size=".1 .1 .02" material="steel"/></body>'
ON_HAND = '<body pos="0 0 .6"><freejoint/><geom type="box" size=".1 .1 .1"/>{}</body>'
ELSEWHERE = {
    "shadows": scene(ROOM, MOVING, fixtures(), shadow="true"),
    "two mirrors": scene(ROOM.replace("checks", "steel"), MOVING, fixtures()),
    "a mirror that moves": scene(ROOM, MOVING, MIRROR, fixtures("paint")),
    "an endless plane": scene(ROOM.replace("2 2 .1", "0 0 .1"), MOVING, fixtures("paint")),
}


@pytest.mark.parametrize("mjcf", ELSEWHERE.values(), ids=ELSEWHERE.keys())
def test_what_is_not_known_to_be_right_is_drawn_as_ever(pair, mjcf):
    room = pair(mjcf)
    for _ in range(4):
        room.move("hand", dx=0.02)
        room.check()
    assert room.background._fixed is None
    assert not room.background._images


def test_nothing_is_kept_for_a_camera_that_moves(pair):
    camera = '<camera name="wrist" pos="0 -.9 .6" xyaxes="1 0 0 0 .74 .67"/>'
    hand = f'<body name="hand" pos="0 0 .7"><freejoint/><geom type="box" size=".05 .05 .05"/>{camera}</body>'
    room = pair(scene(ROOM, hand, fixtures()).replace('name="front"', 'name="back"').replace("wrist", "front"))
    for _ in range(4):
        room.move("hand", dx=0.03, dz=-0.01)
        room.check()
    assert room.background is None or not room.background._images


def test_a_fixed_camera_that_is_moved_all_the_time_costs_no_more_kept_images(pair):
    room = pair(KITCHEN)
    for step in range(8):
        room.model.cam_pos[0, 0] = 0.01 * step
        room.check()
    assert room.background._fixed is None


def test_where_opengl_does_it_otherwise_images_are_drawn_as_ever(pair, caplog):
    from OpenGL import GL

    room = pair(KITCHEN)
    # Changes nothing of what MuJoCo draws here, and has what we clear stay as it is.
    room.ours._current_context()
    GL.glEnable(GL.GL_ALPHA_TEST)
    for _ in range(3):
        room.move("hand", dx=0.02)
        room.check()
    assert "pixels differ from robosuite's" in caplog.text
    assert room.background is None


def test_a_scene_that_is_not_laid_out_as_expected_is_drawn_as_ever(pair, caplog):
    room = pair(scene('<geom name="alone" size=".3" pos="0 .3 .3"/>'))
    room.check()
    room.check()
    assert "mjvGeom: expected it as in MuJoCo 3.2.3" in caplog.text


def drawn_by_robosuite(pair, monkeypatch, name="kitchen"):
    """How many images robosuite draws of the first two of a scene of that name."""
    from ray_eval.envs.libero.rendering import SceneRenderer, _View

    room, drawn = pair(KITCHEN), []
    room.ours = SceneRenderer(room.sim.model, name=name)
    original = _View._by_robosuite
    monkeypatch.setattr(_View, "_by_robosuite", lambda view, context: drawn.append(1) or original(view, context))
    for _ in range(2):
        room.move("hand", dx=0.02)
        room.check()
    monkeypatch.setattr(_View, "_by_robosuite", original)
    assert room.background is not None
    return len(drawn)


def test_what_is_proven_of_a_scene_is_known_the_next_time_and_in_the_next_process(pair, memory, monkeypatch):
    assert drawn_by_robosuite(pair, monkeypatch) == 1
    assert drawn_by_robosuite(pair, monkeypatch) == 0
    memory._proven.cache_clear()
    assert drawn_by_robosuite(pair, monkeypatch) == 0
    assert drawn_by_robosuite(pair, monkeypatch, "another scene") == 1
    assert drawn_by_robosuite(pair, monkeypatch, None) == 1
    monkeypatch.setenv("LIBGL_DEBUG", "quiet")
    memory._proven.cache_clear()
    assert drawn_by_robosuite(pair, monkeypatch) == 1


def test_what_is_drawn_otherwise_is_not_taken_for_proven(pair, memory):
    from OpenGL import GL

    from ray_eval.envs.libero.rendering import SceneRenderer

    for _ in range(2):
        room = pair(KITCHEN)
        room.ours = SceneRenderer(room.sim.model, name="kitchen")
        room.ours._current_context()
        GL.glEnable(GL.GL_ALPHA_TEST)
        room.check()
        assert room.background is None
    room = pair(KITCHEN)
    room.ours = SceneRenderer(room.sim.model, name="kitchen", compile_anew=None)
    room.check(700)  # which has the context made larger
    room.check(700)
    memory._proven.cache_clear()
    larger = pair(KITCHEN)
    larger.ours = SceneRenderer(larger.sim.model, name="kitchen")
    for size_px in (700, 64, 700):
        larger.move("hand", dx=0.02)
        assert larger.check(size_px).shape == (size_px, size_px, 3)
