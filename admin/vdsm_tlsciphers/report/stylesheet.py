# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""The style sheet of a page: for light and dark screens, and for paper."""

STYLE = """
:root {
  --page: #fff; --ink: #1b1f24; --quiet: #57606a; --line: #d0d7de;
  --soft: #f6f8fa; --link: #0550ae;
  --passed: #116329; --passed-soft: #dafbe1; --passed-bar: #8fd6a3;
  --failed: #a40e26; --failed-soft: #ffebe9; --failed-bar: #a40e26;
  --not-scanned: #6a4b00; --not-scanned-soft: #fff4d1;
  --strong: #116329; --acceptable: #0550ae; --weak: #8a4600;
  --weak-soft: #ffdfb6; --weak-line: #e0a458; --broken: #82071e;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --page: #0d1117; --ink: #e6edf3; --quiet: #9da7b1; --line: #3d444d;
    --soft: #161b22; --link: #79c0ff;
    --passed: #7ee787; --passed-soft: #12261e; --passed-bar: #238636;
    --failed: #ffa198; --failed-soft: #34171a; --failed-bar: #ff7b72;
    --not-scanned: #f2cc60; --not-scanned-soft: #2e2711;
    --strong: #7ee787; --acceptable: #79c0ff; --weak: #ffc680;
    --weak-soft: #4a2d09; --weak-line: #7a4d12; --broken: #ffa198;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0 auto; padding: 2rem 1.5rem 3rem; max-width: 72rem;
  background: var(--page); color: var(--ink);
  font: 1rem/1.5 system-ui, "Segoe UI", "Liberation Sans", Arial, sans-serif;
  overflow-wrap: anywhere;
}
h1, h2, h3, h4, h5, p, ul, dl, dd { margin: 0; }
h1 { font-size: 1.75rem; line-height: 1.25; }
h2 { font-size: 1.35rem; line-height: 1.3; }
h3 { font-size: 1.1rem; }
h4 { font-size: 1rem; }
h5 { font-size: .9rem; color: var(--quiet); }
a { color: var(--link); }
code { font: .875em/1.4 ui-monospace, "DejaVu Sans Mono", monospace; }
main > section, main > details { margin-top: 2.5rem; }
section > h2 { margin-bottom: .75rem; }
.conclusion {
  margin: 1rem 0; padding: .6rem 1rem; border-left: .35rem solid;
  border-radius: .25rem; font-size: 1.2rem; font-weight: 600;
}
dl { display: grid; gap: .25rem 1rem; font-size: .9rem; }
dl > div { display: grid; grid-template-columns: 9.5rem 1fr; gap: 1rem; }
dt { color: var(--quiet); }
.passed { color: var(--passed); background: var(--passed-soft); }
.failed { color: var(--failed); background: var(--failed-soft); }
.not-scanned, .partly-checked {
  color: var(--not-scanned); background: var(--not-scanned-soft);
}
.badge {
  display: inline-block; padding: 0 .55em; border: 1px solid;
  border-radius: 1em; font-size: .8rem; font-weight: 600; line-height: 1.6;
  white-space: nowrap; vertical-align: .1em;
}
.badge.passed::before { content: "\\2713\\a0"; }
.badge.failed::before { content: "\\2717\\a0"; }
.badge.not-scanned::before, .badge.partly-checked::before { content: "?\\a0"; }
.wide { overflow-x: auto; margin: .75rem 0; }
table { border-collapse: collapse; font-size: .9rem; }
caption {
  padding-bottom: .25rem; text-align: left; color: var(--quiet);
  font-size: .85rem;
}
th, td {
  padding: .3rem 1.25rem .3rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line);
}
th { font-weight: 600; }
th, td { max-width: 46rem; overflow-wrap: break-word; }
.number { white-space: nowrap; }
tbody th { font-weight: inherit; }
thead th { border-bottom: 2px solid var(--line); white-space: nowrap; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.share { vertical-align: middle; outline: 1px solid var(--quiet); }
.share .passed { fill: var(--passed-bar); }
.share .failed { fill: var(--failed-bar); }
.share .not-scanned { fill: var(--page); }
.share .partly-checked { fill: var(--not-scanned-soft); }
.legend {
  display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; padding: 0;
  list-style: none; font-size: .85rem; color: var(--quiet);
}
.legend svg { vertical-align: -.1em; }
.legend b { color: var(--ink); }
.host > summary {
  display: flex; flex-wrap: wrap; align-items: center; gap: .25rem 1rem;
  padding: .6rem 0; border-bottom: 2px solid var(--ink); cursor: pointer;
  list-style: none;
}
.host > summary::-webkit-details-marker { display: none; }
.host > summary::before { content: "\\25b8"; width: .8em; }
.host[open] > summary::before { content: "\\25be"; }
.counts { color: var(--quiet); font-size: .9rem; }
.beside { display: flex; flex-wrap: wrap; gap: 0 3rem; }
.card {
  margin: 1rem 0; padding: .9rem 1.1rem; background: none;
  border: 1px solid var(--line); border-left: .3rem solid;
  border-radius: .35rem;
}
.card > * { color: var(--ink); }
.card section {
  margin-top: .9rem; padding-top: .75rem; border-top: 1px solid var(--line);
}
.card p, .card ul, .host > p { font-size: .9rem; }
.host > p { margin-top: .6rem; scroll-margin-top: 4rem; }
.card .quiet, .quiet { color: var(--quiet); }
.card dl > div { grid-template-columns: 5.5rem 1fr; }
.side > * { margin-top: .6rem; }
.side ul { padding-left: 1.1rem; }
.card section > .quiet { margin-top: .6rem; }
.problem { font-weight: 600; }
.pair {
  display: grid; gap: 1rem 2rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr));
}
.certificate { margin-top: 1.25rem; }
.certificate dl { margin-top: .4rem; }
.certificate dl > div { grid-template-columns: 5.5rem 1fr; }
.picture { display: block; max-width: 100%; height: auto; }
.picture, .symbols, .legend svg { fill: var(--ink);
  font: 11px system-ui, "Liberation Sans", Arial, sans-serif; }
.symbols { position: absolute; }
symbol text { fill: var(--ink); }
symbol.strong rect { fill: var(--strong); }
symbol.acceptable rect {
  fill: var(--page); stroke: var(--acceptable); stroke-width: 1.5;
}
symbol.weak rect { fill: var(--weak-soft); stroke: var(--weak); }
symbol.weak path { stroke: var(--weak-line); fill: none; }
symbol.broken path { fill: var(--broken); }
.strong text, .acceptable text, .weak text, .broken text {
  font-weight: 700; font-size: 9.5px; text-anchor: middle;
}
.strong text, .broken text { fill: var(--page); }
.acceptable text { fill: var(--acceptable); }
.weak text { fill: var(--ink); }
ins { font-weight: 700; text-decoration: none; }
del { color: var(--quiet); }
.plain { display: inline-block; text-decoration: none; }
.result { margin-top: 1.5rem; }
footer {
  margin-top: 3rem; padding-top: .75rem; border-top: 1px solid var(--line);
  color: var(--quiet); font-size: .85rem;
}
@media (max-width: 40rem) {
  body { padding: 1rem .9rem 2rem; }
  h1 { font-size: 1.4rem; }
  dl > div { grid-template-columns: 5.5rem 1fr; gap: .75rem; }
  .card { padding: .75rem; }
  th, td { padding-right: .5rem; font-size: .8rem; }
  thead th, thead .number { white-space: normal; vertical-align: bottom; }
  .share { width: 3.5rem; height: auto; }
}
@page {
  margin: 16mm 14mm;
  @bottom-right { content: counter(page) " / " counter(pages); }
}
@media print {
  html { font-size: 9pt; print-color-adjust: exact;
    -webkit-print-color-adjust: exact; }
  body { max-width: none; padding: 0; }
  .wide { overflow: visible; }
  th, td { padding-block: .15rem; overflow-wrap: anywhere; }
  a { color: inherit; text-decoration: none; }
  h1, h2, h3, h4, h5, summary, caption { break-after: avoid; }
  .card > p, .card > div { break-after: avoid; }
  footer { margin-top: 1rem; break-before: avoid; }
  tr, li, dl > div, footer, .certificate, .conclusion, .picture, .result,
  .card > div, main > section:not(#results) { break-inside: avoid; }
  .host > p { break-after: avoid; }
  .host:not([open]) { display: none; }
  main > .host + .host { margin-top: 0; break-before: page; }
  .result table { font-size: .8rem; line-height: 1.25; }
  .host[open] > summary::before { content: none; }
  .pair { grid-template-columns: 1fr 1fr; }
  .picture { max-width: 26rem; }
}
"""
