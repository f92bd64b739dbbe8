"""Pictures: written, deterministic, and right in what they draw where a number can tell."""

from pipeline.figures import PALETTE, colors, run_curves


def test_run_curves_is_a_png_and_the_same_every_time(tmp_path):
    history = [
        {
            "epoch": epoch,
            "lr": 0.1,
            "train_loss": 1 / epoch,
            "test_loss": 1 / epoch,
            "train_accuracy": 0.5,
            "test_accuracy": 0.4,
            "sparsity": 0.1 * epoch,
        }
        for epoch in (1, 2)
    ]
    for count in (1, 2):  # a run of one epoch is a point
        first, second = tmp_path / "a.png", tmp_path / "b.png"
        run_curves(history[:count], "a run", first)
        run_curves(history[:count], "a run", second)
        assert first.read_bytes().startswith(b"\x89PNG")
        assert first.read_bytes() == second.read_bytes()


def test_known_methods_keep_their_colour_whatever_else_is_there():
    assert colors(["mine", "granet", "yours"])["granet"] == colors(["granet"])["granet"] == PALETTE["granet"]
    found = colors(["mine", "granet", "yours"])
    assert len(set(found.values())) == len(found)
