#include "lockstep/launch/report/report_style.h"

namespace lockstep {

// The palette is Okabe and Ito's (2008, "Color universal design"), darkened on white and lightened
// on black to keep a contrast of 3 : 1 or more.
const char* report_style() {
  return R"css(
:root{color-scheme:light;--page:#f6f7f8;--card:#fff;--ink:#1a1d21;--soft:#5b636d;--rule:#e1e4e8;--fill:#eceff2;
--good:#1b7f4b;--warn:#a05a00;--bad:#b3261e;
--c0:#0067a5;--c1:#c8500a;--c2:#00805f;--c3:#8e4a9e;--c4:#2a8fc4;--c5:#a77700;--c6:#b0305c;--c7:#4d5966}
@media screen and (prefers-color-scheme:dark){
:root{color-scheme:dark;--page:#101317;--card:#181c22;--ink:#e7eaee;--soft:#9aa4b0;--rule:#2b323b;--fill:#252b33;
--good:#55c98b;--warn:#e5a845;--bad:#ff8a80;
--c0:#57aeea;--c1:#ff9255;--c2:#3fc79f;--c3:#cf95de;--c4:#8fd0f5;--c5:#e3bd4f;--c6:#f283a6;--c7:#aab4bf}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;
overflow-wrap:anywhere}
main,header,footer{max-width:1160px;margin:0 auto;padding:0 20px}
header{padding-top:36px}
h1{font-size:clamp(1.5rem,1.1rem + 2vw,2.2rem);line-height:1.15;letter-spacing:-.02em;margin:.15em 0 .3em;font-weight:680}
h2{font-size:1.22rem;letter-spacing:-.01em;margin:2.4em 0 .8em;font-weight:650}
h3{font-size:.98rem;margin:0;font-weight:620}
h3 span{color:var(--soft);font-weight:400;font-size:.84rem}
p{margin:.5em 0}
small{color:var(--soft);font-size:.8rem}
.brand{font-size:.76rem;letter-spacing:.12em;text-transform:uppercase;color:var(--soft);font-weight:620}
.facts{color:var(--soft);margin:0}
.badge{display:inline-block;border:1px solid currentColor;border-radius:99px;padding:.05em .75em;font-size:.8rem;font-weight:620;color:var(--soft)}
.badge.good{color:var(--good)}.badge.warn{color:var(--warn)}.badge.bad{color:var(--bad)}
.card{background:var(--card);border:1px solid var(--rule);border-radius:12px;padding:16px 18px;margin:0;min-width:0}
.verdict{border-left:5px solid var(--soft);margin:20px 0 0;font-size:1.03rem;white-space:pre-line}
.verdict.good{border-left-color:var(--good)}.verdict.warn{border-left-color:var(--warn)}.verdict.bad{border-left-color:var(--bad)}
.verdict b{font-weight:650}
.notes{margin:12px 0 0;color:var(--warn);font-size:.9rem;padding-left:1.2em}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:14px;margin:20px 0 0;padding:0;list-style:none}
.tiles li span{display:block;color:var(--soft);font-size:.82rem}
.tiles li b{display:block;font-size:1.42rem;line-height:1.35;white-space:nowrap;font-weight:660;letter-spacing:-.02em;font-variant-numeric:tabular-nums}
.tiles li small{display:block}
.tiles li.first{border-color:var(--c0)}.tiles li.first b{color:var(--c0)}
.charts{display:grid;gap:14px;margin:0 0 14px}
.charts.two{grid-template-columns:repeat(2,minmax(0,1fr))}
.charts.three{grid-template-columns:repeat(3,minmax(0,1fr))}
figcaption{display:flex;flex-wrap:wrap;justify-content:space-between;gap:2px 14px;margin-bottom:8px}
.legend{display:flex;flex-wrap:wrap;gap:0 12px;margin:0;padding:0;list-style:none;font-size:.82rem;color:var(--soft)}
.legend .key{width:26px;height:8px;margin-right:5px;vertical-align:middle}
svg{display:block;width:100%;height:auto;overflow:visible}
svg.key{display:inline-block}
svg text{font-family:inherit;font-size:11.5px;fill:var(--soft);font-variant-numeric:tabular-nums}
.grid path{stroke:var(--rule);fill:none}
.grid .y{text-anchor:end}.grid .x{text-anchor:middle}
.c0{--c:var(--c0)}.c1{--c:var(--c1)}.c2{--c:var(--c2)}.c3{--c:var(--c3)}.c4{--c:var(--c4)}.c5{--c:var(--c5)}.c6{--c:var(--c6)}.c7{--c:var(--c7)}
g[class^=c] path{fill:none;stroke:var(--c);stroke-width:2.2;stroke-linejoin:round;stroke-linecap:round}
g[class^=c] circle{fill:var(--c)}
g.dashed path{stroke-dasharray:5 4.5;stroke-width:1.7}
g.dotted path{stroke-dasharray:1 4.5}
g.faint path{opacity:.32;stroke-width:1}
.mark path{stroke:var(--soft);stroke-dasharray:3 3;fill:none}
.mark text{fill:var(--ink);font-weight:600}
.mark circle{fill:none;stroke-width:2;stroke:var(--soft)}
.mark[class*=" c"] circle{stroke:var(--c)}
.mark.sweet path,.mark.sweet circle{stroke:var(--good)}.mark.sweet text{fill:var(--good)}
.mark.stop path{stroke:var(--soft)}.mark.stop text{fill:var(--soft)}
.mark.overfit path{stroke:var(--bad)}.mark.overfit text{fill:var(--bad)}
.shade{fill:var(--bad);opacity:.08}
.tip rect{fill:transparent}.tip path{stroke:var(--soft);opacity:0}.tip:hover path{opacity:.6}
.nothing{color:var(--soft);padding:24px 0;text-align:center}
.scroll{overflow-x:auto}
.matrix svg text{fill:var(--ink)}
.matrix svg .row{text-anchor:end}.matrix svg g text{text-anchor:middle}
.matrix .hit rect{fill:var(--c0)}.matrix .miss rect{fill:var(--c1)}
.matrix svg g text.on{fill:var(--card)}
.matrix svg.large{min-width:500px}
table{border-collapse:collapse;width:100%;font-size:.88rem;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:6px 10px;border-bottom:1px solid var(--rule);vertical-align:top}
th{color:var(--soft);font-weight:560;font-size:.8rem}
td.n,th.n{text-align:right;white-space:nowrap}
.scroll td:first-child,.scroll th:first-child{min-width:9em}
td.best{font-weight:700;color:var(--good)}
.scroll th,td.n{overflow-wrap:normal}.scroll .settings td,.scroll.settings td{min-width:7em}
.settings td:first-child{width:40%;color:var(--soft)}
.settings td{font-family:ui-monospace,"SF Mono",Menlo,Consolas,monospace;font-size:.82rem}
.swatch{display:inline-block;width:26px;vertical-align:middle;margin-right:8px}
.bars{list-style:none;margin:0;padding:0;font-size:.86rem}
.bars li{display:grid;grid-template-columns:minmax(4em,7.5em) 1fr 4.6em minmax(0,8em);gap:10px;align-items:center;padding:2.5px 0}
.bars .name{overflow:hidden;text-overflow:ellipsis;white-space:nowrap;unicode-bidi:isolate}
.bars .bar{height:9px;border-radius:5px;background:var(--fill);overflow:hidden;print-color-adjust:exact;-webkit-print-color-adjust:exact}
.bars .bar i{display:block;height:100%;background:var(--c0);border-radius:5px;print-color-adjust:exact;-webkit-print-color-adjust:exact}
.bars .n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
.bars .gap{display:block;color:var(--soft)}
.mistakes{display:grid;grid-template-columns:repeat(auto-fill,minmax(300px,1fr));gap:14px;list-style:none;margin:0;padding:0}
.mistake{display:flex;gap:14px;background:var(--card);border:1px solid var(--rule);border-radius:12px;padding:12px;min-width:0}
.mistake>div:last-child{flex:1;min-width:0}
.mistake p{margin:0 0 4px;line-height:1.3;font-size:.92rem}
.mistake .picture{width:88px;height:88px;object-fit:contain;border-radius:8px;image-rendering:pixelated;background:var(--fill);flex:none;
font-size:.7rem;color:var(--soft);display:grid;place-items:center}
.mistake .bars li{grid-template-columns:minmax(3.5em,6em) 1fr 4.4em;gap:8px;padding:1px 0;font-size:.8rem}
.mistake .wrong i{background:var(--c1)}.mistake .right i{background:var(--good)}
.mistake .right .name{font-weight:650}
details{background:var(--card);border:1px solid var(--rule);border-radius:12px;padding:10px 18px;margin:0 0 12px}
summary{cursor:pointer;font-weight:600;font-size:.95rem}
details[open]>summary{margin-bottom:10px}
details .card,details .mistake{border-color:var(--rule)}
footer{color:var(--soft);font-size:.82rem;padding-top:34px;padding-bottom:40px}
@media screen and (max-width:820px){.charts.two,.charts.three{grid-template-columns:minmax(0,1fr)}}
@media screen and (max-width:480px){main,header,footer{padding-left:12px;padding-right:12px}header{padding-top:22px}.card{padding:12px}
.tiles{grid-template-columns:repeat(2,minmax(0,1fr));gap:10px}.tiles li b{font-size:1.25rem}
.mistakes{grid-template-columns:minmax(0,1fr)}.bars li{grid-template-columns:6em 1fr 4.6em}.bars li small{display:none}
details{padding:10px 12px}svg text{font-size:13px}}
@media print{body{background:none;font-size:11pt}main,header,footer{max-width:none;padding:0 2px}h2{break-after:avoid}
.card,.mistake,details{break-inside:avoid}details.long{break-inside:auto}.scroll{overflow:visible}.tip{display:none}
.charts.three{grid-template-columns:repeat(2,minmax(0,1fr))}.mistakes{grid-template-columns:repeat(2,minmax(0,1fr))}
.tiles li b{font-size:15pt}details::details-content{content-visibility:visible;height:auto;display:block}
table{font-size:8.5pt}th,td{padding:3px 6px}}
)css";
}

}  // namespace lockstep
