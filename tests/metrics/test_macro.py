import pytest
import torch

from crowdcount.metrics import MacroNae, macro_nae

IMAGES = [(12.0, 10, "a"), (90.0, 100, "a"), (3.0, 0, "empty"), (0.0, 0, "empty"), (0.5, 0, "empty"), (7.0, 4, "few")]


def slow(images):
    """Return the definition, written out."""
    means = {}
    for name in {source for *_, source in images}:
        errors = [abs(predicted - true) / max(true, 10) for predicted, true, source in images if source == name]
        means[name] = sum(errors) / len(errors)
    return sum(means.values()) / len(means), means


def test_each_source_has_the_same_say():
    whole, means = slow(IMAGES)
    found = macro_nae(*zip(*IMAGES, strict=True))
    assert found == pytest.approx({"macro_nae": whole, **{f"macro_nae/{name}": mean for name, mean in means.items()}})
    assert found["macro_nae/a"] == pytest.approx(0.15) and found["macro_nae/empty"] == pytest.approx(3.5 / 30)
    assert list(found) == ["macro_nae", "macro_nae/a", "macro_nae/empty", "macro_nae/few"]


def test_one_data_set_without_a_name_has_one_value():
    assert macro_nae([3.0, 20.0], [0, 10], ["", ""]) == pytest.approx({"macro_nae": 0.65})


def test_no_images_or_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        macro_nae([], [], [])
    with pytest.raises(ValueError, match=r"shorter|longer"):
        macro_nae([1.0], [1, 2], ["a", "a"])


def test_the_metric_collects_an_epoch_and_forgets_it():
    metric = MacroNae()
    for image in IMAGES:
        metric.update(*image)
    assert metric.compute() == macro_nae(*zip(*IMAGES, strict=True))
    metric.reset()
    metric.update(1.0, 0, "b")
    assert metric.compute() == {"macro_nae": 0.1, "macro_nae/b": 0.1}


def one_of_two(rank, folder):
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    metric = MacroNae()
    for image in IMAGES[rank::2]:
        metric.update(*image)
    (folder / f"{rank}.txt").write_text(repr(metric.compute()))
    torch.distributed.destroy_process_group()


def test_processes_compute_one_value(tmp_path):
    torch.multiprocessing.spawn(one_of_two, (tmp_path,), nprocs=2)
    expected = repr(macro_nae(*zip(*IMAGES, strict=True)))
    assert [(tmp_path / f"{rank}.txt").read_text() for rank in (0, 1)] == [expected, expected]
