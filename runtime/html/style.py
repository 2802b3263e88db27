"""The style sheet of reports: light and dark by the reader's system, and paper."""

# Series: Okabe and Ito's palette for colour vision deficiency (2008), darkened or lightened for contrast.
_LIGHT = """
--page: #fff; --text: #1b2430; --dim: #566271; --rule: #d9dfe6; --accent: #0b6fae; --good: #0a7d55;
--bad: #b3400f; --c0: #0b6fae; --c1: #c25400; --c2: #0a8561; --c3: #a8468a; --c4: #8a7500; --c5: #4a5568;
"""
_DARK = """
--page: #12171d; --text: #e4e9ee; --dim: #98a5b3; --rule: #313b46; --accent: #62b5ea; --good: #4ecb9c;
--bad: #ff9466; --c0: #62b5ea; --c1: #f0913f; --c2: #44c79b; --c3: #dd93c4; --c4: #e3cf4b; --c5: #a6b3c1;
"""
_FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif'

STYLE = f"""
:root {{ color-scheme: light dark; {_LIGHT} }}
@media (prefers-color-scheme: dark) {{ :root {{ {_DARK} }} }}
* {{ box-sizing: border-box }}
body {{ margin: 0; background: var(--page); color: var(--text); font: 15px/1.5 {_FONT} }}
header, main, footer {{ max-width: 880px; margin: 0 auto; padding: 0 20px }}
header {{ padding-top: 32px }}
header p {{ margin: 3px 0 0; color: var(--dim) }}
h1 {{ font-size: 26px; line-height: 1.2; margin: 0 }}
h2 {{ font-size: 18px; margin: 34px 0 10px; padding-bottom: 5px; border-bottom: 1px solid var(--rule) }}
p {{ margin: 8px 0 }}
.note {{ color: var(--dim); font-size: 13.5px }}
.good {{ color: var(--good) }}
.bad {{ color: var(--bad) }}
.badge {{ display: inline-block; border: 1px solid currentColor; border-radius: 10px; padding: 0 9px;
  font-size: 12.5px; font-weight: 600; white-space: nowrap }}
code {{ font: 13px/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-wrap: anywhere }}
details {{ margin: 10px 0 }}
summary {{ cursor: pointer; color: var(--accent) }}
footer {{ color: var(--dim); font-size: 13px; padding-top: 26px; padding-bottom: 40px }}

.scroll {{ overflow-x: auto; margin: 10px 0 }}
table {{ border-collapse: collapse; font-size: 14px }}
caption {{ text-align: left; color: var(--dim); font-size: 13.5px; padding-bottom: 5px }}
th, td {{ text-align: left; padding: 5px 22px 5px 0; border-bottom: 1px solid var(--rule);
  vertical-align: top }}
th {{ color: var(--dim); font-weight: 600 }}
thead th {{ border-bottom-width: 2px; vertical-align: bottom }}
tbody th {{ color: var(--text); font-weight: 500 }}
.num {{ text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }}
.heat td {{ text-align: center; min-width: 58px; padding: 6px 10px; font-variant-numeric: tabular-nums }}
.heat thead th {{ padding-right: 10px }}
.heat .num {{ text-align: center }}
.heat td.hit {{ background: color-mix(in srgb, var(--c0) var(--share), transparent) }}
.heat td.miss {{ background: color-mix(in srgb, var(--bad) var(--share), transparent) }}
dl {{ display: grid; grid-template-columns: minmax(110px, max-content) 1fr; gap: 4px 18px; margin: 10px 0;
  font-size: 14px }}
dt {{ color: var(--dim) }}
dd {{ margin: 0; overflow-wrap: anywhere }}

figure {{ margin: 14px 0 }}
figcaption {{ font-size: 13.5px; overflow-wrap: anywhere; color: var(--dim); margin-bottom: 4px }}
img {{ max-width: 100%; height: auto; display: block; border-radius: 3px; background: #000 }}
img + figcaption {{ margin: 5px 0 0 }}
.gallery {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(200px, 1fr)); gap: 14px;
  margin: 12px 0 }}
.gallery figure {{ margin: 0; min-width: 0 }}
.gallery img {{ width: 100% }}
.legend {{ list-style: none; display: flex; flex-wrap: wrap; gap: 2px 18px; margin: 2px 0 6px; padding: 0;
  font-size: 13px }}
.key {{ display: inline-block; width: 12px; height: 12px; border-radius: 2px; background: var(--c);
  vertical-align: -1px }}

svg {{ display: block; width: 100%; height: auto }}
svg text {{ font: 12px {_FONT}; fill: var(--dim) }}
svg .label {{ font-size: 12.5px }}
svg .value {{ fill: var(--text); font-variant-numeric: tabular-nums }}
svg .grid {{ stroke: var(--rule); stroke-width: 1 }}
svg .axis {{ stroke: var(--dim); stroke-width: 1 }}
svg .stroke {{ fill: none; stroke: var(--c); stroke-width: 1.5; stroke-linejoin: round }}
svg .fill {{ fill: var(--c) }}
svg .whisker {{ fill: none; stroke: var(--text); stroke-width: 1.2 }}
svg line.limit {{ stroke: var(--bad); stroke-width: 1.4; stroke-dasharray: 6 4 }}
svg text.limit {{ fill: var(--bad) }}
svg .bad {{ --c: var(--bad) }}
.c0 {{ --c: var(--c0) }}
.c1 {{ --c: var(--c1) }}
.c2 {{ --c: var(--c2) }}
.c3 {{ --c: var(--c3) }}
.c4 {{ --c: var(--c4) }}
.c5 {{ --c: var(--c5) }}

@media print {{
  :root {{ color-scheme: light; {_LIGHT} }}
  body {{ font-size: 11pt }}
  * {{ print-color-adjust: exact; -webkit-print-color-adjust: exact }}
  figure, table, dl {{ break-inside: avoid }}
  h2 {{ break-after: avoid }}
}}
"""
