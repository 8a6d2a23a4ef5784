"""Grids and their cells."""

import pytest
import yaml

from experiments.grid import packaged_grids, read_grid
from experiments.mutual.cells import ARMS, SIZES, Cell, Member, cells_of, independent, order_seed, peer_seed
from experiments.mutual.grid import MutualGrid
from tests.helpers.mutual_grid import TINY
from transforms.errors import InputError


def grid(**changes):
    return MutualGrid.model_validate({**TINY, **changes})


def test_the_grids_that_come_along_are_right_and_keep_the_papers_settings():
    grids = packaged_grids("mutual")
    assert set(grids) == {"mutual_simulated", "mutual_criteo", "mutual_avazu"}
    for name in grids:
        example = read_grid(MutualGrid, name)
        assert example.name == name and example.peers == 4 and example.batch_size == 4000
        assert example.hidden_units == (400, 200, 100) and example.finetuning.epochs == 1
        assert example.pretraining.decay_epochs == 3 and example.table_1.groups >= 5
        assert set(example.table_1.models) == {"deepfm", "dcn", "pnn", "fibinet"}
        if name != "mutual_simulated":
            assert example.embedding_dim == 16 and example.source == name.removeprefix("mutual_")
    assert (read_grid(MutualGrid, "mutual_simulated").rows or 0) >= 2_000_000


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"peers": 1}, "peers"),
        ({"pears": 3}, "pears"),
        ({"source": "criteo"}, "world belongs"),
        ({"rows": None}, "rows belongs"),
        ({"table_2": {"models": ["dcn"], "groups": 1}}, "table_2 has one model"),
        ({"pretraining": {"epochs": 0, "learning_rate": 0.1}}, "pretraining.epochs"),
    ],
)
def test_a_wrong_grid_is_refused(change, expected, tmp_path):
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump({**TINY, **change}))
    with pytest.raises(InputError, match=expected):
        read_grid(MutualGrid, str(tmp_path / "grid.yaml"))


def test_an_unknown_grid_names_the_nearest():
    with pytest.raises(InputError, match="did you mean 'mutual_criteo'"):
        read_grid(MutualGrid, "mutual_crieto")


def test_a_grid_is_narrowed_to_models_groups_and_parts():
    complete = read_grid(MutualGrid, "mutual_simulated")
    some = complete.narrowed(("dcn", "deepfm"), 2, ("table_1", "controls"))
    assert set(some.table_1.models) == {"deepfm", "dcn"} and some.table_1.groups == 2
    assert some.sizes.groups == 0 and some.table_2.groups == 0
    assert some.identity() == complete.identity()
    assert complete.narrowed(("dcn", "pnn", "deepfm")).table_2.models == ()
    assert complete.narrowed(groups=1).table_2.models == complete.table_2.models
    with pytest.raises(InputError, match="did you mean 'deepfm'"):
        complete.narrowed(("depfm",))
    with pytest.raises(InputError, match="received 'sises'"):
        complete.narrowed(parts=("sises",))


def test_table_1_has_the_papers_three_ways_the_control_and_the_bound():
    names = [cell.name for cell in cells_of(grid(table_1={"models": ["deepfm"], "groups": 2}))]
    of_group = ["independent-0", "independent-1", "scratch", "mutual", "finetune_only", "ensemble"]
    assert sorted(names) == sorted(f"deepfm-{group}-{arm}" for group in (1, 2) for arm in of_group)


def test_independent_runs_come_before_what_starts_from_them():
    parts = {"models": ["deepfm", "dcn"], "groups": 2}
    example = grid(table_1=parts, table_2=parts, sizes=parts, controls=parts)
    cells = cells_of(example)
    assert len({cell.name for cell in cells}) == len(cells)
    for place, cell in enumerate(cells):
        assert all(cells.index(needed) < place for needed in cell.needs(example))
        assert bool(cell.needs(example)) == (cell.arm not in ("independent", "independent_other_length", "scratch"))
        # Pretrained for as long as the name says.
        assert {needed.arm.endswith("length") for needed in cell.needs(example)} <= {cell.arm.endswith("length")}
    mixed = [cell for cell in cells if cell.arm == "mixed"]
    assert mixed[0].members == (Member("deepfm", 0), Member("dcn", 0)) and mixed[0].name == "deepfm+dcn-1-mixed"
    # 3 and 5 peers beside K = 2.
    assert {cell.arm for cell in cells} & set(SIZES) == {"peers_3", "peers_5"}
    assert {len(cell.members) for cell in cells if cell.arm == "peers_5"} == {5}


def test_work_is_counted_in_passes_of_one_peer():
    members = (Member("dcn", 0), Member("dcn", 1))
    passes = {arm: Cell(grid().place, "dcn", 1, arm, members).work(grid()) for arm in ARMS if "independent" not in arm}
    # Two epochs from scratch, one of finetuning; half a pass for what comes besides.
    assert (passes["scratch"], passes["mutual"], passes["two_epochs"], passes["ensemble"]) == (4.5, 2.5, 4.5, 0.5)
    assert independent(grid(), members[0], 1, "independent_other_length").work(grid()) == 1.5


def test_each_way_differs_from_the_papers_in_what_its_name_says():
    paper = ARMS["mutual"]
    assert (paper.pretrained, paper.mutual_weight, paper.loss, paper.stop_gradient) == (True, 1.0, "mse", True)
    changed = {name: {key for key in vars(arm) if vars(arm)[key] != vars(paper)[key]} for name, arm in ARMS.items()}
    assert changed["scratch"] == {"pretrained"} and changed["finetune_only"] == {"mutual_weight"}
    assert changed["symmetric_kl"] == changed["logit_mse"] == {"loss"}
    assert changed["no_stop_gradient"] == {"stop_gradient"} and changed["two_epochs"] == {"more_epochs"}
    assert changed["finetune_only_slow"] == {"mutual_weight", "slow"}
    assert changed["mutual_other_length"] == {"other_length"}
    assert changed["mixed"] == changed["peers_2"] == set()


def test_seeds_of_peers_groups_and_grids_are_all_different():
    seeds = [peer_seed(grid(seed=s), g, k) for s in (1, 2) for g in (1, 2, 30) for k in range(5)]
    assert len(set(seeds)) == len(seeds)
    # A group's run counts its peers' seeds up from its own.
    assert all(order_seed(grid(seed=s), g) == peer_seed(grid(seed=s), g, 0) for s in (1, 2) for g in (1, 2, 30))
