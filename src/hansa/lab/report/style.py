"""The look of the report: one style sheet, light and dark, screen and paper, and a perceptual ramp.

The ramp walks through OKLCH with lightness in even steps, so that equal steps of the index look equal and the order
survives any colour blindness and a black-and-white printer; calm is near the page's ground, stress is far from it, in
both schemes. Purposes use hues that stay apart without red against green.

Source: Ottosson, A perceptual color space for image processing, 2020 (OKLab); Okabe and Ito, Color universal design,
2008 (categorical hues).
"""

from __future__ import annotations

import math
from typing import Final

STEPS: Final = 10
PURPOSE_COLOURS: Final = {"census": "#7d7f86", "state": "#0072b2", "gram": "#d98a00", "weights": "#b0588f"}
DARK_PURPOSE_COLOURS: Final = {"census": "#a3a6ad", "state": "#4fb0e8", "gram": "#f0b040", "weights": "#dd8fc0"}


def ramp(*, is_dark: bool = False) -> tuple[str, ...]:
    """Return the colours of the index from calm to stress as `#rrggbb`, evenly spaced in lightness."""
    ends = (0.30, 0.93) if is_dark else (0.965, 0.33)
    found = []
    for step in range(STEPS):
        part = step / (STEPS - 1)
        hue = 270.0 + 180.0 * part if is_dark else 95.0 - 145.0 * part
        chroma = 0.02 + 0.15 * min(part, 1.6 * (1.15 - part))
        found.append(oklch(ends[0] + (ends[1] - ends[0]) * part, chroma, hue))
    return tuple(found)


def oklch(lightness: float, chroma: float, hue_degrees: float) -> str:
    """Return an OKLCH colour as `#rrggbb`, each channel cut at its limits.

    >>> oklch(1.0, 0.0, 0.0)
    '#ffffff'
    """
    a = chroma * math.cos(math.radians(hue_degrees))
    b = chroma * math.sin(math.radians(hue_degrees))
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = (
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    )
    return "#" + "".join(f"{_byte(channel):02x}" for channel in linear)


def stylesheet() -> str:
    """Return the page's CSS; it names no address and no font that must be fetched."""
    light, dark = _variables(is_dark=False), _variables(is_dark=True)
    steps = "".join(f".q{step}{{fill:var(--q{step})}}" for step in range(STEPS))
    purposes = "".join(f".p-{name}{{fill:var(--p-{name})}}" for name in PURPOSE_COLOURS)
    return (
        f":root{{color-scheme:light dark;{light}}}\n"
        f"@media (prefers-color-scheme:dark){{:root{{{dark}}}}}\n"
        f"@media print{{:root{{color-scheme:light;{light}}}}}\n"
        f"{steps}{purposes}\n{RULES}"
    )


def _variables(*, is_dark: bool) -> str:
    grounds = (
        "--page:#14161a;--card:#1c1f25;--ink:#e8e9ec;--muted:#a4a9b3;--line:#3a3f49;--bar:#59616e;--accent:#4fb0e8;"
        "--mark:#ff9d5c;--onset:#e8e9ec;--wash:#252932;"
        if is_dark
        else "--page:#f6f7f8;--card:#fff;--ink:#1a1d22;--muted:#59606b;--line:#d5d9df;--bar:#b3bac5;--accent:#0067a5;"
        "--mark:#c2410c;--onset:#1a1d22;--wash:#eef1f5;"
    )
    purposes = DARK_PURPOSE_COLOURS if is_dark else PURPOSE_COLOURS
    steps = "".join(f"--q{step}:{colour};" for step, colour in enumerate(ramp(is_dark=is_dark)))
    return grounds + steps + "".join(f"--p-{name}:{colour};" for name, colour in purposes.items())


def _byte(linear: float) -> int:
    inside = min(max(linear, 0.0), 1.0)
    shown = 12.92 * inside if inside <= 0.0031308 else 1.055 * inside ** (1 / 2.4) - 0.055
    return round(255 * shown)


RULES: Final = """\
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);
  font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;
  font-variant-numeric:tabular-nums;-webkit-text-size-adjust:100%}
main{max-width:1088px;margin:0 auto;padding:32px 20px 64px}
h1{font-size:clamp(1.35rem,3.2vw,2rem);line-height:1.25;font-weight:650;letter-spacing:-.012em;margin:6px 0 14px;
  text-wrap:balance}
h2{font-size:1.2rem;margin:0 0 6px}
h3{font-size:1rem;margin:0 0 4px}
p{margin:0 0 10px;max-width:96ch}
.kicker,.note,figcaption,caption{color:var(--muted)}
.kicker{margin:0;font-size:.9rem}
.note,figcaption,caption{font-size:.875rem}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:20px;margin:18px 0 0}
figure{margin:14px 0 0}
figcaption{margin-top:8px}
svg{display:block;width:100%;height:auto;overflow:visible}
svg text{font:13px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;fill:var(--ink);
  font-variant-numeric:tabular-nums}
svg text{paint-order:stroke;stroke:var(--card);stroke-width:3px;stroke-linejoin:round}
svg .s{font-size:11px;fill:var(--muted)}
svg .b{font-weight:650}
.narrow{display:none;max-width:480px;margin:0 auto}
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,400px),1fr));gap:8px 36px}
.grid svg{max-width:560px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,140px),1fr));gap:10px;
  margin:18px 0 0;padding:0;list-style:none}
.tiles li{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:12px 14px}
.tiles b{display:block;font-size:1.5rem;line-height:1.25;font-weight:650}
.tiles span{color:var(--muted);font-size:.82rem;line-height:1.35;display:block}
.legend{display:flex;flex-wrap:wrap;gap:4px 18px;list-style:none;margin:8px 0 0;padding:0;font-size:.875rem}
.legend li{display:flex;align-items:center;gap:6px}
.legend svg{width:auto;height:14px;flex:none}
details{margin-top:10px;font-size:.875rem}
summary{cursor:pointer;color:var(--accent);padding:4px 0}
:focus-visible{outline:2px solid var(--accent);outline-offset:2px;border-radius:3px}
.scroll{overflow-x:auto;max-height:420px}
table{border-collapse:collapse;width:100%}
caption{text-align:left;padding:4px 0}
th,td{padding:4px 10px 4px 0;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap;vertical-align:top}
th:first-child{text-align:left;font-weight:500}
thead th{font-weight:600;color:var(--muted)}
dl{display:grid;grid-template-columns:minmax(8em,max-content) 1fr;gap:4px 18px;margin:8px 0 0}
dt{color:var(--muted)}
dd{margin:0;overflow-wrap:anywhere}
code,pre{font:.86em/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
pre{background:var(--wash);border-radius:6px;padding:10px 12px;overflow-x:auto;margin:8px 0}
.limits{padding-left:1.2em;margin:8px 0 0}
.limits li{margin:0 0 8px;max-width:80ch}
.ground{fill:var(--wash)}
.train{fill:var(--muted);opacity:.14}
.axis{stroke:var(--line);stroke-width:1;fill:none}
.edge{stroke:var(--ink);stroke-width:1;stroke-dasharray:2 3;fill:none}
.hatching{stroke:var(--muted);stroke-width:1.4;opacity:.65}
.series{fill:none;stroke:var(--ink);stroke-width:1.1;stroke-linejoin:round}
.band{fill:var(--muted);opacity:.28}
.threshold{stroke:var(--mark);stroke-width:1;stroke-dasharray:5 3}
.alert{fill:var(--mark)}
.onset{fill:var(--onset)}
.onset-line{stroke:var(--onset);stroke-width:1.2;opacity:.75}
.veil{fill:transparent}
.bar{fill:var(--bar)}
.bar-own{fill:var(--accent)}
.bar-outside{fill:var(--bar);opacity:.45}
.whisker{stroke:var(--ink);stroke-width:1.6;fill:none}
.dot{fill:var(--card);stroke:var(--ink);stroke-width:1}
.mean{fill:var(--accent);stroke:var(--card);stroke-width:1.5}
.spread{fill:var(--accent);opacity:.22}
.path{fill:none;stroke:var(--accent);stroke-width:1.6}
.p-other{fill:var(--bar)}
.upload{opacity:.42}
.waiting{opacity:.2}
.agree{opacity:.72}
.zoom{fill:var(--muted);opacity:.14}
.died{stroke:var(--mark);stroke-width:2;fill:none}
.allowed{fill:var(--wash);stroke:var(--line)}
@media (max-width:759px){.wide{display:none}.narrow{display:block}main{padding:20px 12px 40px}section{padding:14px}
  dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:8px}}
@media (max-width:480px){.grid svg text{font-size:16px}.grid svg .s{font-size:13.5px}}
@media print{body{font-size:11pt;background:#fff}main{max-width:none;padding:0}
  figure,tr,.tiles li{break-inside:avoid}h2{break-after:avoid}
  details::details-content{content-visibility:visible;block-size:auto}
  section{border-color:#bbb;margin-top:10px}.scroll{max-height:none;overflow:visible}
  .wide{display:block}.narrow{display:none}.grid{grid-template-columns:repeat(2,minmax(0,1fr))}
  table{font-size:8pt}th,td{white-space:normal}}
"""
