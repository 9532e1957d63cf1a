"use strict";
(() => {
const data = JSON.parse(document.getElementById("data").textContent);
const by = (id) => document.getElementById(id);
const bytes = (text) => Uint8Array.from(atob(text), (one) => one.charCodeAt(0)).buffer;
const sliders = data.sliders.map((one, number) => ({ ...one, input: by(`s${number}`), output: by(`o${number}`) }));
const selects = data.selects.map((one, number) => ({ ...one, input: by(`v${number}`) }));
const seeds = data.seeds.length;
const choices = data.choices.map((one) => ({
  ...one,
  text: `${one.method} over ${one.over}`,
  color: `var(--m${data.methods.indexOf(one.method)})`,
  needed: new Float64Array(bytes(one.needed)),
  before: new Float64Array(bytes(one.before)),
  met: new Uint8Array(bytes(one.met)),
  final: new Float64Array(bytes(one.final)),
  lost: new Uint8Array(bytes(one.lost)),
  x: new Float32Array(bytes(one.x)),
  y: new Float32Array(bytes(one.y)),
}));
const transports = [...new Set(choices.map((one) => one.over))];
const DASHES = ["", "7 3", "2 3", "9 3 2 3", "5 2 1 2 1 2"];
const dash = (choice) => DASHES[transports.indexOf(choice.over) % DASHES.length];

const theme = document.createElement("style");
const colors = (shade) => data.colors.map((pair, number) => `--m${number}: ${pair[shade]};`).join(" ");
theme.textContent = `:root { ${colors(0)} } @media (prefers-color-scheme: dark) { :root { ${colors(1)} } }`;
document.head.append(theme);

// Numbers as people read them, the same as simgmc prints.

function general(value, digits) {
  if (value === 0 || !isFinite(value)) return String(value);
  const [mantissa, exponent] = value.toExponential(digits - 1).split("e");
  if (exponent < -4 || exponent >= digits) {
    const power = String(Math.abs(exponent)).padStart(2, "0");
    return `${Number(mantissa)}e${exponent < 0 ? "-" : "+"}${power}`;
  }
  return String(Number(value.toPrecision(digits)));
}
function number(value, digits = 3) {
  if (!isFinite(value) || value === 0) return String(value);
  const decimals = Math.max(0, digits - 1 - Math.floor(Math.log10(Math.abs(value))));
  if (Math.abs(value) < 1e-4 || Math.abs(value) >= 1e6) {
    return value.toExponential(digits - 1).replace(/e([+-])(\d)$/, "e$10$2");
  }
  return value.toFixed(decimals);
}
const TIMES = [[86400, "d", 2], [3600, "h", 2], [60, "min", 2], [1, "s", 1], [1e-3, "ms", 1], [1e-6, "µs", 1], [1e-9, "ns", 0]];
function timeUnit(seconds) {
  return (seconds && TIMES.find(([scale, , least]) => Math.abs(seconds) >= least * scale)) || [1, "s"];
}
function timeText(seconds, std = null) {
  const [scale, unit] = timeUnit(seconds);
  let shown = number(seconds / scale);
  if (std !== null) {
    const decimals = shown.includes("e") ? 0 : (shown.split(".")[1] || "").length;
    shown += ` ± ${shown.includes("e") ? number(std / scale) : (std / scale).toFixed(decimals)}`;
  }
  return `${shown} ${unit}`;
}
function prefixed(value, unit, digits) {
  for (const [scale, prefix] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (value >= scale) return `${general(value / scale, digits)} ${prefix}${unit}`;
  }
  return `${general(value, digits)} ${unit}`;
}
function quantity(value, unit, digits = 3) {
  if (unit === "s") return `${general(value / timeUnit(value)[0], digits)} ${timeUnit(value)[1]}`;
  return unit ? prefixed(value, unit, digits) : general(value, digits);
}
const percent = (value) => (data.measure.share ? 100 * value : value);
const valueText = (value) => `${data.measure.prefix}${data.measure.share ? `${general(100 * value, 4)} %` : general(value, 3)}`;

// Where the sliders stand: places between 0 and the number of values less one.

const places = () => sliders.map((one) => Number(one.input.value));
const isReplayed = (at) => at.every((place) => Number.isInteger(place));
function valueAt(slider, place) {
  const low = Math.floor(place), high = Math.ceil(place), part = place - low;
  const [a, b] = [slider.values[low], slider.values[high]];
  return a > 0 && part ? a * (b / a) ** part : a + (b - a) * part;
}
function textAt(slider, place) {
  return Number.isInteger(place) ? slider.texts[place] : quantity(valueAt(slider, place), slider.unit);
}

// The points of the grid around a place, with their weights.
function corners(at) {
  let found = [[0, 1]];
  for (const one of selects) {
    found = found.map(([index, weight]) => [index * one.texts.length + Number(one.input.value), weight]);
  }
  sliders.forEach((one, number) => {
    const low = Math.floor(at[number]), part = at[number] - low;
    found = found.flatMap(([index, weight]) => {
      const here = index * one.texts.length + low;
      return part ? [[here, weight * (1 - part)], [here + 1, weight * part]] : [[here, weight]];
    });
  });
  return found;
}
function between(numbers, around, stride, offset, logarithmic) {
  const values = around.map(([index]) => numbers[index * stride + offset]);
  if (values.length === 1) return values[0];
  if (logarithmic && values.every((value) => value > 0)) {
    return Math.exp(values.reduce((sum, value, place) => sum + around[place][1] * Math.log(value), 0));
  }
  return values.reduce((sum, value, place) => sum + around[place][1] * value, 0);
}

// How much each seed needed, and who needed less: as in simgmc's series/reach.py.

function reachOf(choice, around) {
  const reach = { needed: [], spent: [], before: [], all: [] };
  for (let seed = 0; seed < seeds; seed++) {
    const value = between(choice.needed, around, seeds, seed, true);
    reach.all.push(value);
    if (Number.isNaN(value)) continue;
    if (around.every(([index]) => choice.met[index * seeds + seed])) {
      reach.needed[seed] = value;
      reach.before[seed] = between(choice.before, around, seeds, seed, true);
    } else reach.spent[seed] = value;
  }
  const values = (list) => list.filter((value) => value !== undefined);
  reach.met = values(reach.needed);
  reach.missed = values(reach.spent).length;
  reach.atLeast = mean([...reach.met, ...values(reach.spent)]);
  reach.mean = mean(reach.met);
  reach.std = reach.met.length > 1 ? deviation(reach.met) : null;
  return reach;
}
const sum = (list) => list.reduce((total, value) => total + value, 0);
const mean = (list) => sum(list) / list.length;
const deviation = (list) => Math.sqrt(sum(list.map((value) => (value - mean(list)) ** 2)) / (list.length - 1));

function advantage(of, over) {
  const shared = [...Array(seeds).keys()].filter((seed) => !isNaN(of.all[seed]) && !isNaN(over.all[seed]));
  const vain = [of, over].map((one) => shared.some((seed) => one.spent[seed] !== undefined));
  if (!shared.length || (vain[0] && vain[1])) return null;
  const [mine, theirs] = [of, over].map((one) => sum(shared.map((seed) => one.all[seed])));
  return mine <= 0 || theirs <= 0 ? null : { value: theirs / mine, bound: vain[0] ? "<" : vain[1] ? ">" : "=" };
}
function sooner(first, later) {
  const ratio = advantage(first, later);
  return ratio === null || ratio.value < 1 ? null : ratio;
}
function ratioText({ value, bound }) {
  const shown = value < 1000 ? general(value, 3) : value.toFixed(0);
  return `${bound === "=" ? "" : `${bound} `}${shown}×`;
}
function tooClose(one, other) {
  if (one.missed || other.missed || !one.met.length || !other.met.length) return false;
  const least = [one, other].map((reach) => sum(reach.before.filter((v) => v !== undefined)) / reach.met.length);
  if (least[0] < other.mean && least[1] < one.mean) return true;
  if (one.std === null || other.std === null) return false;
  if (Math.abs(one.mean - other.mean) <= one.std + other.std) return true;
  const apart = one.needed.map((value, seed) => other.needed[seed] - value).filter((value) => !isNaN(value));
  return Math.min(...apart) < 0 && Math.max(...apart) > 0;
}

// The verdict on one network: as in simgmc's series/verdict.py and series/sentences.py.

function endOf(choice, around) {
  const value = between(choice.final, around, 1, 0, false);
  return { value, lost: Math.max(...around.map(([index]) => choice.lost[index])) };
}
function rank({ reach, end }) {
  if (reach.met.length) return [reach.missed, 0, reach.atLeast];
  const worse = data.measure.higher ? -end.value : end.value;
  return [data.target === null ? 0 : reach.missed, 1 + end.lost, Number.isNaN(worse) ? Infinity : worse];
}
function before(one, other) {
  const [mine, theirs] = [rank(one), rank(other)], place = mine.findIndex((value, number) => value !== theirs[number]);
  return place < 0 ? 0 : mine[place] < theirs[place] ? -1 : 1;
}
function standing(around) {
  const best = new Map();
  for (const choice of choices) {
    const found = { choice, reach: reachOf(choice, around), end: endOf(choice, around) };
    const known = best.get(choice.text);
    if (!Number.isNaN(found.reach.atLeast) && (!known || before(found, known) < 0)) best.set(choice.text, found);
  }
  return [...best.values()].sort(before);
}
function overall(found) {
  if (!found.length) return "Nothing was run on this network.";
  const [best, ...rest] = found, goal = data.goal;
  const other = rest.find((one) => one.choice.method !== best.choice.method);
  if (best.reach.missed) return `No method reaches ${goal} with every seed.`;
  if (!best.reach.atLeast) {
    const there = found.filter(({ reach }) => !reach.missed && !reach.atLeast).map(({ choice }) => choice.text);
    return `${there.join(", ")} meet${there.length > 1 ? "" : "s"} ${goal} at the start, untrained.`;
  }
  const need = timeText(best.reach.atLeast);
  if (!other) return `${best.choice.text} reaches ${goal} in ${need}.`;
  const ended = [];
  for (const { choice, reach } of found) {
    const spent = reach.spent.filter((value) => value !== undefined);
    if (!spent.length || Math.max(...spent) >= best.reach.atLeast) continue;
    const several = found.filter((one) => one.choice.method === choice.method).length > 1;
    ended.push(`${several ? choice.text : choice.method} after ${timeText(mean(spent))}`);
  }
  const shorter = ended.length
    ? ` (trained for less time than that, so that nobody knows when they would: ${ended.join(", ")})` : "";
  if (other.reach.missed) {
    const { method, over, text } = best.choice;
    const several = rest.some((one) => one.choice.method === method && !one.reach.missed);
    const who = several ? method : text, soonest = several ? `, soonest over ${over}` : "";
    return `Only ${who} reaches ${goal} with every seed${soonest}, in ${need}${shorter}.`;
  }
  const theirs = timeText(other.reach.atLeast), ahead = sooner(best.reach, other.reach);
  const compared = tooClose(best.reach, other.reach) ? `too close to tell from ${other.choice.text} (${theirs})`
    : ahead ? `${ratioText(ahead)} sooner than the next method, ${other.choice.text} (${theirs})`
    : `the next method is ${other.choice.text} (${theirs}), with other seeds so far`;
  const base = found.find((one) => one.choice.method === data.baseline);
  let over = "";
  if (base && ![best, other].some((one) => one.choice.method === data.baseline)) {
    const ratio = sooner(best.reach, base.reach);
    over = ratio ? `, ${ratioText(ratio)} sooner than the baseline at its best, ${base.choice.text}` : "";
  }
  return `${best.choice.text} reaches ${goal} first, in ${need}: ${compared}${over}${shorter}.`;
}
function collectives(found) {
  const names = [...new Set(found.filter((one) => one.choice.collective).map((one) => one.choice.over))];
  const said = [];
  names.forEach((one, place) => names.slice(place + 1).forEach((other) => {
    const parts = data.methods.map((method) => against(found, method, one, other)).filter(Boolean);
    if (parts.length) said.push(`${one[0].toUpperCase()}${one.slice(1)} against ${other}: ${parts.join("; ")}.`);
  }));
  return said;
}
function against(found, method, one, other) {
  const [first, second] = [one, other].map((name) =>
    found.find(({ choice }) => choice.method === method && choice.over === name)?.reach);
  const ratio = first && second && advantage(first, second);
  if (!ratio) return "";
  if (ratio.bound !== "=") return `${method} gets there with every seed over ${ratio.bound === ">" ? one : other} alone`;
  if (tooClose(first, second)) return `${method} the same, or too close to tell`;
  const times = Math.max(ratio.value, 1 / ratio.value);
  return `${method} is ${general(times, 3)} times sooner over ${ratio.value >= 1 ? one : other}`;
}
function ends(found) {
  if (!found.length) return "Nothing was run on this network.";
  const [best, ...rest] = found, other = rest.find((one) => one.choice.method !== best.choice.method);
  if (Number.isNaN(best.end.value)) return "Every method diverged.";
  const own = rest.filter((one) => one.choice.method === best.choice.method);
  const alike = !best.end.lost && own.length > 0 && own.every((one) => before(best, one) === 0);
  const name = ({ choice }) => (alike ? choice.method : choice.text);
  const end = ({ choice, end: { value, lost } }) =>
    valueText(value) + (lost ? ` (${lost} of its ${seeds} seeds diverged)` : "");
  const next = other && !Number.isNaN(other.end.value) ? `; next ${name(other)}, at ${end(other)}` : "";
  return `${name(best)} ends best, at ${end(best)}${next}. No target is stated, so nothing is said on time to it.`;
}

// Who is first along a slider, the others staying where they are.

function firstOf(found) {
  return found.length && !found[0].reach.missed ? found[0].choice.text : null;
}
const STEP = 0.05;
function along(axis) {
  const at = places(), last = sliders[axis].texts.length - 1, line = [];
  for (let step = 0; step <= Math.round(last / STEP); step++) {
    const there = at.slice();
    there[axis] = Math.round(step * STEP * 100) / 100;
    line.push({ place: there[axis], found: standing(corners(there)) });
  }
  return line;
}
function flips(axis, line) {
  const runs = [];
  for (const { place, found } of line) {
    const who = firstOf(found);
    if (runs.length && runs[runs.length - 1].who === who) runs[runs.length - 1].last = place;
    else runs.push({ who, first: place, last: place });
  }
  const slider = sliders[axis], name = (one) => one.who || "nobody";
  if (line.every(({ found }) => firstOf(found) && !found[0].reach.atLeast)) {
    return `Met at the start, untrained, everywhere along ${slider.label}.`;
  }
  if (runs.length === 1 && !runs[0].who) return `No method reaches ${data.goal} anywhere along ${slider.label}.`;
  if (runs.length === 1) return `First everywhere along ${slider.label}: ${name(runs[0])}.`;
  const parts = runs.map((one, number) =>
    number ? `${name(one)} from ≈ ${quantity(Number(valueAt(slider, one.first).toPrecision(2)), slider.unit)}` : name(one));
  return `First along ${slider.label}, the other sliders staying: ${parts.join(", then ")}.`;
}

// Pictures.

const SVG = "http://www.w3.org/2000/svg";
function element(name, attributes, ...inside) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) if (value !== "") made.setAttribute(key, value);
  made.append(...inside);
  return made;
}
function scale(low, high, logarithmic, from, to) {
  const of = logarithmic ? Math.log : (value) => value;
  return (value) => from + ((of(value) - of(low)) / (of(high) - of(low) || 1)) * (to - from);
}
function ticks(low, high, logarithmic, most) {
  if (logarithmic) {
    const decades = Math.log10(high / low), marks = decades < 1.2 ? [1, 2, 5] : [1];
    const every = Math.max(1, Math.ceil((decades * marks.length) / most)), found = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
      if (power % every) continue;
      for (const mark of marks) {
        const value = mark * 10 ** power;
        if (value >= low * 0.999 && value <= high * 1.001) found.push(value);
      }
    }
    if (found.length > 1) return found;
  }
  const raw = (high - low) / Math.max(2, most), power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((mark) => mark * power).find((one) => one >= raw) || 10 * power, found = [];
  for (let place = Math.ceil(low / step - 1e-9); place * step <= high * (1 + 1e-9); place++) found.push(place * step);
  return found;
}
function frame(box, label, horizontal, vertical) {
  const width = Math.max(280, box.clientWidth), height = Math.min(360, Math.max(240, Math.round(width * 0.62)));
  const [left, right, top, bottom] = [58, width - 12, 22, height - 42];
  const x = scale(horizontal.low, horizontal.high, horizontal.log, left, right);
  const y = scale(vertical.low, vertical.high, vertical.log, bottom, top);
  const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  let free = -Infinity; // where no label stands yet
  for (const [value, text] of horizontal.ticks(Math.floor((right - left) / 65))) {
    svg.append(element("line", { class: "grid", x1: x(value), x2: x(value), y1: top, y2: bottom }));
    const anchor = x(value) > right - 24 ? "end" : "middle";
    const width = 6.5 * text.length;
    const begin = x(value) - (anchor === "end" ? width : width / 2);
    if (begin < free) continue;
    free = begin + width + 4;
    svg.append(element("text", { x: x(value), y: bottom + 16, "text-anchor": anchor }, text));
  }
  for (const [value, text] of vertical.ticks(Math.floor((bottom - top) / 35))) {
    svg.append(element("line", { class: "grid", x1: left, x2: right, y1: y(value), y2: y(value) }));
    svg.append(element("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, text));
  }
  svg.append(element("path", { class: "axis", d: `M${left} ${top}V${bottom}H${right}` }));
  svg.append(element("text", { class: "soft", x: (left + right) / 2, y: bottom + 34, "text-anchor": "middle" },
    horizontal.name));
  svg.append(element("text", { class: "soft", x: 0, y: 12 }, vertical.name));
  return { svg, x, y, left, right, top, bottom };
}
function path(points) {
  let drawn = "", pen = false;
  for (const [x, y] of points) {
    if (!isFinite(x) || !isFinite(y)) { pen = false; continue; }
    drawn += `${pen ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
    pen = true;
  }
  return drawn;
}
function line(choice, points, first) {
  const attributes = { d: path(points), stroke: choice.color, "stroke-dasharray": dash(choice) };
  return element("path", { ...attributes, class: first ? "first" : "" });
}
// An axis of times in one unit, so that its numbers are round.
function timeAxis(low, high, logarithmic, name) {
  const [size, unit] = timeUnit(logarithmic ? Math.sqrt(low * high) : high);
  const marks = (most) => ticks(low / size, high / size, logarithmic, most).map((value) => [value * size, general(value, 6)]);
  return { low, high, log: logarithmic, name: `${name} (${unit})`, ticks: marks };
}

// Limits stay as sliders move, so that curves are seen to move.
const limits = { least: Infinity, most: 0, start: Infinity, end: 0, low: Infinity, high: -Infinity };
for (const one of choices) {
  one.needed.forEach((value) => {
    if (value > 0) { limits.least = Math.min(limits.least, value); limits.most = Math.max(limits.most, value); }
  });
  for (let last = one.places - 1; last < one.x.length; last += one.places) {
    if (one.x[last] > 0) { limits.start = Math.min(limits.start, one.x[last] / 50); limits.end = Math.max(limits.end, one.x[last]); }
  }
  one.y.forEach((value) => {
    if (isFinite(value)) { limits.low = Math.min(limits.low, value); limits.high = Math.max(limits.high, value); }
  });
}

if (data.target !== null) {
  limits.low = Math.min(limits.low, data.target);
  limits.high = Math.max(limits.high, data.target);
}

function drawSweep(axis, swept, found) {
  const slider = sliders[axis], box = by("sweep"), first = firstOf(found);
  const logarithmic = slider.values.every((value) => value > 0);
  const horizontal = logarithmic
    ? { low: slider.values[0], high: slider.values[slider.values.length - 1], log: true }
    : { low: 0, high: slider.values.length - 1, log: false };
  const put = (place) => (logarithmic ? valueAt(slider, place) : place);
  horizontal.name = slider.label;
  horizontal.ticks = (most) => (logarithmic
    ? ticks(horizontal.low, horizontal.high, true, most).map((value) => [value, quantity(value, slider.unit)])
    : slider.texts.map((text, place) => [place, text]));
  const vertical = timeAxis(limits.least, limits.most, true, `time to ${data.goal}`);
  const { svg, x, y, top, bottom } = frame(box, `Time to ${data.goal} along ${slider.label}: ${flips(axis, swept)}`,
    horizontal, vertical);
  const here = x(put(places()[axis]));
  svg.append(element("line", { class: "here", x1: here, x2: here, y1: top, y2: bottom }));
  for (const text of new Set(choices.map((one) => one.text))) {
    const points = swept.map(({ place, found: there }) => {
      const one = there.find(({ choice }) => choice.text === text);
      return [x(put(place)), one && !one.reach.missed ? y(one.reach.atLeast) : NaN];
    });
    svg.append(line(choices.find((one) => one.text === text), points, text === first));
  }
  for (const { choice, reach } of found) {
    if (!reach.missed && reach.atLeast) svg.append(element("circle", { class: "dot", cx: here, cy: y(reach.atLeast), r: 4, fill: choice.color }));
  }
  box.replaceChildren(svg);
}
function drawCurves(found, around) {
  const box = by("curves"), share = data.measure.share;
  const logarithmic = limits.end / limits.start > 500;
  const horizontal = timeAxis(logarithmic ? limits.start : 0, limits.end, logarithmic, "simulated time");
  const [low, high] = [percent(limits.low), percent(limits.high)], steep = !share && low > 0 && high / low > 30;
  const vertical = { low: share ? Math.max(0, low - 2) : low, high: share ? Math.min(100, high + 2) : high, log: steep,
    name: data.measure.text + (share ? " (%)" : "") };
  vertical.ticks = (most) => ticks(vertical.low, vertical.high, steep, most).map((value) => [value, general(value, 3)]);
  const ends = found.map(({ choice }) => choice.text).join(", ");
  const { svg, x, y, left, right } = frame(box, `${data.measure.text} against simulated time: ${ends}`, horizontal, vertical);
  if (data.target !== null) {
    const goal = y(percent(data.target));
    svg.append(element("line", { class: "target", x1: left, x2: right, y1: goal, y2: goal }));
  }
  found.slice().reverse().forEach(({ choice }) => {
    const points = [];
    for (let place = 0; place < choice.places; place++) {
      const when = between(choice.x, around, choice.places, place, true);
      const value = percent(between(choice.y, around, choice.places, place, false));
      points.push([when >= horizontal.low ? x(when) : NaN, steep && value <= 0 ? NaN : y(value)]);
    }
    svg.append(line(choice, points, choice === found[0].choice && data.goal && !found[0].reach.missed));
  });
  box.replaceChildren(svg);
}
function fillTable(found) {
  const tuned = choices.some((one) => one.settings);
  const head = ["method", ...(tuned ? ["at its best settings"] : []), ...(data.goal ? [`time to ${data.goal}`, "times the first's"] : [])];
  const row = (cells, kind) => {
    const made = document.createElement("tr");
    made.append(...cells.map((cell) => {
      const one = document.createElement(kind);
      if (kind === "th") one.scope = "col";
      one.append(...[].concat(cell));
      return one;
    }));
    return made;
  };
  const made = [row(head, "th")];
  found.forEach(({ choice, reach }, place) => {
    const swatch = element("svg", { class: "swatch", viewBox: "0 0 32 12", "aria-hidden": "true" },
      element("path", { d: "M0 6H32", stroke: choice.color, "stroke-dasharray": dash(choice) }));
    const ratio = advantage(found[0].reach, reach);
    const reached = reach.met.length ? timeText(reach.mean, reach.std) : "not reached";
    const time = reach.met.length && reach.missed ? `${reached} (${reach.met.length} of ${seeds})` : reached;
    const times = found[0].reach.missed ? "–" : place === 0 ? "1×" : ratio && ratio.value >= 1 ? ratioText(ratio) : "–";
    made.push(row([[swatch, choice.text], ...(tuned ? [choice.settings] : []), ...(data.goal ? [time, times] : [])], "td"));
    if (place === 0 && !reach.missed && data.goal) made[made.length - 1].className = "best";
  });
  by("table").replaceChildren(...made);
}

// Everything follows the controls, and the address follows them too.

function show() {
  const at = places(), around = corners(at), found = standing(around);
  sliders.forEach((one, number) => {
    const text = textAt(one, at[number]);
    one.output.textContent = text;
    one.input.setAttribute("aria-valuetext", text + (Number.isInteger(at[number]) ? "" : ", interpolated"));
  });
  const values = [...sliders.map((one, number) => `${one.label} ${textAt(one, at[number])}`),
    ...selects.map((one) => one.texts[Number(one.input.value)])];
  by("where").textContent = `On this network: ${values.join(", ")}.`;
  by("kind").textContent = isReplayed(at) ? "replayed" : "interpolated between replays";
  by("kind").className = isReplayed(at) ? "kind" : "kind interpolated";
  const told = data.goal ? [overall(found), ...collectives(found)] : [ends(found)];
  by("verdict").replaceChildren(...told.map((text) => {
    const made = document.createElement("p");
    made.textContent = text;
    return made;
  }));
  if (by("sweep")) {
    const axis = Number(by("along").value), swept = along(axis);
    drawSweep(axis, swept, found);
    by("flips").textContent = flips(axis, swept);
  }
  drawCurves(found, around);
  fillTable(found);
}
function remember() {
  const state = new URLSearchParams();
  sliders.forEach((one) => state.set(one.key, one.input.value));
  selects.forEach((one) => state.set(one.key, one.input.value));
  history.replaceState(null, "", `#${state}`);
}
function recall() {
  const state = new URLSearchParams(location.hash.slice(1));
  sliders.forEach((one) => { one.input.value = state.get(one.key) ?? one.begin; });
  selects.forEach((one) => { if (state.has(one.key)) one.input.value = state.get(one.key); });
}
by("replayed").addEventListener("change", (event) => {
  for (const { input } of sliders) {
    input.step = event.target.checked ? 1 : STEP;
    input.value = event.target.checked ? Math.round(Number(input.value)) : input.value;
  }
  remember();
  show();
});
let waiting = false;
document.addEventListener("input", (event) => {
  if (event.target.id === "replayed" || waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; remember(); show(); });
});
addEventListener("hashchange", () => { recall(); show(); });
let width = 0;
addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; show(); } });
document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
recall();
show();
})();
