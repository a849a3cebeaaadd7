"""The plots of a report, as SVG in the page's colours and as PNG."""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rerank_plugin.errors import MissingDependencyError
from rerank_plugin.evaluation.curves import DepthCurve
from rerank_plugin.files import replace_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from rerank_plugin.evaluation.pareto import SweepResult

# Distinguishable on white and on black, and with red-green colour blindness.
COLORS = ("#3b82f6", "#ea580c", "#0d9488", "#a855f7", "#db2777", "#a16207", "#64748b", "#65a30d")
GAIN, LOSS = "#0d9488", "#ea580c"
MARKERS = "osD^vPX*"
# A placeholder for the page's text colour.
INK = "#123456"
# Small enough that text stays readable on a phone, where a plot is as wide as the screen.
SIZE = (5.4, 3.5)
LABELLED_DEPTHS = {5, 10, 20, 50, 100, 200, 500, 1000}
STYLE: Any = {
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#888888",
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "font.size": 10,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "svg.fonttype": "none",
}


@dataclass(frozen=True)
class Plot:
    """
    A plot.

    :param name: Name of its file, without the extension.
    :param caption: Caption.
    :param draw: Draws it on the given axes.
    :param size: Width and height in inches.
    """

    name: str
    caption: str
    draw: "Callable[[Axes], None]"
    size: tuple[float, float] = SIZE

    def svg(self) -> str:
        """Return the plot as an `<svg>` element: text stays text, and lines have the colour of the page's text."""
        import matplotlib as mpl

        with mpl.rc_context({**STYLE, "svg.hashsalt": self.name}):
            buffer = io.StringIO()
            self._figure().savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
        svg = buffer.getvalue()
        svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
        svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)
        # Ids of glyphs and clips must differ between the plots of a page.
        svg = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{self.name}-", svg)
        return svg.replace(INK, "currentColor")

    def save_png(self, folder: Path) -> Path:
        """Write the plot, dark on white; return the file."""
        file = folder / f"{self.name}.png"
        with replace_file(file, binary=True) as stream:
            self._figure().savefig(stream, format="png", dpi=160, facecolor="white")
        return file

    def _figure(self) -> "Figure":
        try:
            import matplotlib as mpl
            from matplotlib.figure import Figure
        except ImportError as error:
            raise MissingDependencyError("the report needs matplotlib: pip install 'rerank-plugin[eval]'") from error
        with mpl.rc_context(STYLE):
            figure = Figure(figsize=self.size, layout="constrained")
            self.draw(figure.add_subplot())
        return figure


def depth_plot(curves: Sequence[DepthCurve], measure: str, first_stages: Mapping[str, float]) -> Plot:
    """Plot quality by number of candidates, with the upper bound of an ideal order."""

    def draw(axes: "Axes") -> None:
        for number, curve in enumerate(curves):
            color = COLORS[number % len(COLORS)]
            axes.plot(
                curve.depths,
                curve.reranked,
                color=color,
                marker=MARKERS[number % len(MARKERS)],
                ms=4,
                label=_plain(curve.system),
            )
            axes.plot(curve.depths, curve.ceiling, color=color, ls=":", lw=1.2)
        for name, value in first_stages.items():
            axes.axhline(value, color=INK, ls="--", lw=0.9, alpha=0.7)
            place: Any = {"xycoords": ("axes fraction", "data"), "xytext": (2, 2), "textcoords": "offset points"}
            axes.annotate(_plain(f"{name} alone"), (0.0, value), fontsize=8, **place)
        axes.set_xscale("log")
        depths = sorted({depth for curve in curves for depth in curve.depths})
        axes.set_xticks(depths, [str(depth) if depth in LABELLED_DEPTHS or depth == depths[-1] else "" for depth in depths])
        axes.minorticks_off()
        axes.set_xlabel("candidates that the second stage reads (logarithmic)")
        axes.set_ylabel(measure)
        axes.legend()

    caption = f"{measure} by the number of candidates. Dotted: the candidates in ideal order, an upper bound."
    return Plot("depth", caption, draw)


def gains_plot(name: str, differences: NDArray[np.float64], measure: str, baseline: str, system: str) -> Plot:
    """Plot the gain of each query, sorted."""

    def draw(axes: "Axes") -> None:
        ordered = np.sort(differences)[::-1]
        edges = np.arange(len(ordered) + 1)
        axes.stairs(np.clip(ordered, 0, None), edges, fill=True, color=GAIN)
        axes.stairs(np.clip(ordered, None, 0), edges, fill=True, color=LOSS)
        axes.axhline(0, color=INK, lw=0.8)
        axes.set_xlim(0, len(ordered))
        axes.set_xlabel("queries, from the largest gain to the largest loss")
        axes.set_ylabel(f"gain in {measure}")

    better, worse = int((differences > 0).sum()), int((differences < 0).sum())
    equal = len(differences) - better - worse
    caption = f"{system} against {baseline}, query by query: {better} better, {equal} equal, {worse} worse."
    return Plot(name, caption, draw, (5.4, 2.7))


def cost_plot(points: Mapping[str, tuple[float, float, tuple[float, float]]], measure: str) -> Plot:
    """
    Plot quality against time.

    :param points: For each system: milliseconds, the measure, and the ends of its interval.
    :param measure: Name of the measure.
    """

    def draw(axes: "Axes") -> None:
        for number, (system, (time, value, (low, high))) in enumerate(points.items()):
            axes.errorbar(
                [time],
                [value],
                yerr=[[max(0.0, value - low)], [max(0.0, high - value)]],
                color=COLORS[number % len(COLORS)],
                marker=MARKERS[number % len(MARKERS)],
                ms=7,
                capsize=3,
                lw=1,
                ls="none",
                label=_plain(system),
            )
        _logarithmic(axes)
        axes.margins(x=0.15)
        axes.set_xlabel("milliseconds per query, median (logarithmic)")
        axes.set_ylabel(measure)
        axes.legend()

    return Plot("cost", f"{measure} against the time per query. Bars: 95 % interval of the mean over queries.", draw)


def _plain(text: str) -> str:
    """Escape a text for matplotlib: dollars would start a formula, a leading underscore would hide a label."""
    escaped = text.replace("$", r"\$")
    return f" {escaped}" if escaped.startswith("_") else escaped


def _logarithmic(axes: "Axes") -> None:
    """Use a logarithmic axis with plain numbers instead of powers of ten."""
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(lambda x, _position: f"{x:g}" if f"{x:g}".lstrip("0.")[0] in "25" else "")


def front_plot(result: "SweepResult") -> Plot:
    """Plot all settings of a sweep, the Pareto front, and the recommended setting."""

    def draw(axes: "Axes") -> None:
        rest = [point for point in result.points if not point.on_front]
        axes.scatter(
            [point.milliseconds for point in rest],
            [point.quality for point in rest],
            s=14,
            color="#94a3b8",
            label="other settings",
        )
        front = result.front
        axes.plot(
            [point.milliseconds for point in front],
            [point.quality for point in front],
            color=COLORS[0],
            marker="o",
            ms=5,
            lw=1.2,
            label="Pareto front",
        )
        axes.plot([result.best.milliseconds], [result.best.quality], "^", color=COLORS[2], ms=10, label="best")
        axes.plot(
            [result.choice.milliseconds],
            [result.choice.quality],
            "o",
            mfc="none",
            mec=COLORS[1],
            mew=2,
            ms=13,
            label="choice",
        )
        _logarithmic(axes)
        axes.set_xlabel("milliseconds per query, median (logarithmic)")
        axes.set_ylabel(result.measure)
        axes.legend()

    return Plot(
        "front",
        f"{result.measure} against the time per query, for all settings. No setting is both faster and better "
        "than one on the Pareto front.",
        draw,
    )
