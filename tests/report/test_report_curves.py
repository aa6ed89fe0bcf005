"""The curves: what is drawn is what was measured, and every figure says in words what it shows."""

import pytest
from report_folders import change

from tutelage.report.collect import collect
from tutelage.report.curves import figures, styles


def test_the_last_row_of_numbers_is_where_the_results_end(study):
    """The curve on held-out text ends in the mean of the table of arms."""
    found = collect(study)
    for figure, metric in zip(figures(found)[:2], ("student_nats", "forward_kl_nats"), strict=True):
        for arm, cell in zip(figure.header[1:], figure.rows[-1][1:], strict=True):
            mean = next(a for a in found.arms if a.name == arm).mean(metric)
            assert float(cell.split(" ")[0]) == pytest.approx(mean, abs=5.1e-5)


def test_the_mean_is_taken_only_where_every_seed_was_measured(study):
    """A seed that stopped early does not bend the mean of the others."""

    def stop(results):
        curve = results["arms"][1]["curves"][0]
        curve.update({name: values[:10] for name, values in curve.items() if name != "seed"})

    change(study, "results.json", stop)
    figure = figures(collect(study))[0]
    shown = [row[1] for row in figure.rows]
    assert all(shown[:10])
    assert not any(shown[10:])


def test_a_level_far_away_gets_a_frame_without_it(study):
    """Where training moves little, the teacher would press all arms into one line."""

    def calm(results):
        for arm in results["arms"]:
            for curve in arm["curves"]:
                curve.update({name: values[-3:] for name, values in curve.items() if name != "seed"})

    change(study, "results.json", calm)
    whole, closer = figures(collect(study))[0].panels
    assert 'class="level teacher"' in whole.chart
    assert 'class="level teacher"' not in closer.chart
    assert "Outside the frame: teacher 2.0431" in closer.caption


def test_losses_of_different_divergences_share_no_axis(study):
    """Each arm has a panel of its own, and the reader is told why."""
    losses = figures(collect(study))[2]
    assert len(losses.panels) == 3
    assert "do not compare heights" in losses.note


def test_every_trained_arm_has_a_look_of_its_own(study):
    """Colour and dash go by arm, the same in table, legend and chart."""
    looks = styles(collect(study))
    assert len(set(looks.values())) == len(looks) == 4
    assert looks["sft"] == "control"
