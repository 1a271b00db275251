"use strict";
// What a page does: paints maps, tells values, moves along the path, ranks groups. One answer is an <article> and its JSON.

const SVG = "http://www.w3.org/2000/svg";
const one = (root, selector) => root.querySelector(selector);
const all = (root, selector) => [...root.querySelectorAll(selector)];
const clamp = (x, low, high) => Math.min(Math.max(x, low), high);
const sum = (values) => values.reduce((a, b) => a + b, 0);
const told = (x) => (x == null ? "unknown" : Number(x.toPrecision(3)).toString().replace("-", "−"));
const signed = (x) => (x > 0 ? "+" : "") + told(x);
const percent = (x) => `${told(100 * x)} %`;
const drawn = (name, attributes, text) => {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
};

// ---------------------------------------------------------------- numbers
const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const unpack = ({ largest, int16 }) => Float32Array.from(new Int16Array(bytes(int16).buffer), (x) => (x * largest) / 32767);
function unpackFrames({ largest, int8 }) {
  const roots = new Int8Array(bytes(int8).buffer), size = roots.length / largest.length;
  return largest.map((most, k) => Float32Array.from(roots.subarray(k * size, (k + 1) * size), (x) => Math.sign(x) * (x / 127) ** 2 * most));
}

function smooth(values, [height, width], sigma) {
  const reach = Math.floor(4 * sigma + 0.5), weights = [];
  for (let k = -reach; k <= reach; k++) weights.push(Math.exp((-k * k) / (2 * sigma * sigma)));
  const total = sum(weights);
  const along = (from, step, count, lines, lineStep) => {
    const to = new Float32Array(from.length);
    for (let line = 0; line < lines; line++)
      for (let i = 0; i < count; i++) {
        let value = 0;
        for (let k = Math.max(-reach, -i); k <= Math.min(reach, count - 1 - i); k++)
          value += weights[k + reach] * from[line * lineStep + (i + k) * step];
        to[line * lineStep + i * step] = value / total;
      }
    return to;
  };
  return along(along(values, width, height, width, 1), 1, width, height, width);
}

function percentile(arrays, share) {
  const sizes = Float32Array.from(arrays.flatMap((array) => Array.from(array, Math.abs))).sort();
  return sizes.length ? sizes[Math.min(sizes.length - 1, Math.floor((share / 100) * sizes.length))] || sizes[sizes.length - 1] : 0;
}

// ---------------------------------------------------------------- colours
function colour(ladder, part) {
  const place = clamp(part, 0, 1) * (ladder.length - 1), low = Math.min(Math.floor(place), ladder.length - 2);
  return ladder[low].map((from, k) => Math.round(from + (ladder[low + 1][k] - from) * (place - low)));
}
const rgb = (channels) => `rgb(${channels.join(" ")})`;
const wash = (part, way = part >= 0 ? "up" : "down") => `rgb(var(--${way}) / ${(0.62 * Math.min(Math.abs(part), 1)).toFixed(3)})`;

function paint(canvas, values, shape, scale, view, opacity, colours) {
  const [height, width] = shape, signs = view !== "magnitude";
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d"), image = context.createImageData(width, height);
  for (let i = 0; i < values.length; i++) {
    const part = scale > 0 ? clamp(values[i] / scale, -1, 1) : 0, size = Math.abs(part);
    const [red, green, blue] = signs ? colour(colours.signed, (part + 1) / 2) : colour(colours.magnitude, size);
    image.data.set([red, green, blue, view === "overlay" ? 255 * opacity * size : 255 * opacity], 4 * i);
  }
  context.putImageData(image, 0, 0);
}

function scaleBar(root, scale, colours, magnitude) {
  const ladder = magnitude ? colours.magnitude : colours.signed;
  one(root, ".ramp").style.background = `linear-gradient(to right, ${ladder.map(rgb).join(", ")})`;
  const ticks = magnitude ? [0, 0.5, 1] : [-1, -0.5, 0, 0.5, 1];
  one(root, ".ticks").replaceChildren(...ticks.map((part) => {
    const tick = document.createElement("span");
    tick.textContent = magnitude ? told(part * scale) : part ? signed(part * scale) : "0";
    return tick;
  }));
}

// ---------------------------------------------------------------- a picture
function placeCanvas(canvas, [x, y, width, height]) {
  Object.assign(canvas.style, { left: `${100 * x}%`, top: `${100 * y}%`, width: `${100 * width}%`, height: `${100 * height}%` });
}

function pictures(article, data) {
  const source = one(article, "img.source");
  for (const image of all(article, ".stage img:not(.source)")) image.src = source.src;
  const section = one(article, ".picture"), panels = all(section, ".panel");
  if (!panels.length) return null;
  const sigma = data.smoothing * Math.max(...data.shape);
  const maps = data.maps.map((of) => Object.fromEntries(Object.entries(of).map(([name, map]) => {
    const exact = unpack(map);
    return [name, { exact, smooth: smooth(exact, data.shape, sigma), size: smooth(exact.map(Math.abs), data.shape, sigma) }];
  })));
  const scales = Object.fromEntries(["smooth", "size"].map((kind) => [kind, percentile(maps.map((of) => of.attribution[kind]), data.percentile)]));
  const control = (name) => one(section, `[name="${name}"]`);
  const view = () => one(section, "input[type=radio]:checked").value;
  const mapOf = (panel) => {
    const quantity = control("quantity")?.value ?? "attribution";
    if (!panel.matches(".difference")) return maps[Number(one(panel, "canvas").parentNode.dataset.target)][quantity];
    const [first, second] = ["first", "second"].map((name) => maps[Number(one(panel, `[name=${name}]`).value)][quantity]);
    return Object.fromEntries(Object.keys(first).map((kind) => [kind, first[kind].map((x, k) => x - second[kind][k])]));
  };

  function draw() {
    const share = Number(control("contour").value) / 100, areas = [], kind = view() === "magnitude" ? "size" : "smooth", scale = scales[kind];
    for (const panel of panels) {
      const stage = one(panel, ".stage"), map = mapOf(panel);
      stage.classList.toggle("over", view() === "overlay");
      stage.classList.toggle("alone", view() === "signed");
      stage.classList.toggle("crops", data.seen[0] > 0 || data.seen[1] > 0 || data.seen[0] + data.seen[2] < 1 || data.seen[1] + data.seen[3] < 1);
      one(stage, "canvas").classList.toggle("squares", Math.max(...data.shape) <= 64);
      placeCanvas(one(stage, "canvas"), data.seen);
      paint(one(stage, "canvas"), map[kind], data.shape, scale, view(), Number(control("opacity").value) / 100, data.colours);
      areas.push(contour(one(stage, ".frame"), map.smooth, share));
    }
    one(section, ".area").textContent = share
      ? `the least area that carries ${percent(share)} of the attribution: ${areas.slice(0, maps.length).map(percent).join("; ")} of what the network saw`
      : "none";
    scaleBar(section, scale, data.colours, view() === "magnitude");
    one(section, ".meaning").textContent =
      (view() === "magnitude" ? "Bright: moved the output much, whichever way. " : "Blue raised the output, red lowered it. ") +
      `The numbers are of one pixel, in the output’s units, smoothed over ${told(sigma)} pixels; what is beyond ${told(scale)} has the last colour. All maps have this one scale. Neighbouring pixels often have opposite signs and cancel: the colours show what is left.`;
    one(section, ".balance").textContent = maps.map((of, t) => {
      const up = sum(Array.from(of.attribution.exact, (x) => Math.max(x, 0))), down = sum(Array.from(of.attribution.exact, (x) => Math.min(x, 0)));
      return `${data.titles[t]}: pixels raised the output by ${signed(up)} and lowered it by ${signed(down)}, which leaves ${signed(up + down)}.`;
    }).join(" ");
  }

  // The outline of the pixels with the largest values that make up a share of the whole; returns their part of the area.
  function contour(frame, values, share) {
    const sizes = Array.from(values, Math.abs), order = sizes.slice().sort((a, b) => b - a), wanted = share * sum(sizes);
    let running = 0, count = 0;
    while (share && count < order.length && running < wanted) running += order[count++];
    const least = count ? order[count - 1] : Infinity, [height, width] = data.shape, lines = [];
    const inside = (row, column) => row >= 0 && column >= 0 && row < height && column < width && sizes[row * width + column] >= least;
    for (let row = 0; row <= height && count; row++)
      for (let column = 0; column <= width; column++) {
        const here = inside(row, column);
        if (here !== inside(row, column - 1)) lines.push(`M${column} ${row}v1`);
        if (here !== inside(row - 1, column)) lines.push(`M${column} ${row}h1`);
      }
    const [x, y, w, h] = data.seen, [pictureWidth, pictureHeight] = data.size;
    frame.setAttribute("transform", `translate(${x * pictureWidth} ${y * pictureHeight}) scale(${(w * pictureWidth) / width} ${(h * pictureHeight) / height})`);
    frame.setAttribute("d", lines.join(""));
    return count / sizes.length;
  }

  const at = [data.shape[0] >> 1, data.shape[1] >> 1];
  function tell(panel) {
    const map = mapOf(panel), [row, column] = at, k = row * data.shape[1] + column;
    const x = (data.seen[0] + ((column + 0.5) / data.shape[1]) * data.seen[2]) * data.size[0];
    const y = (data.seen[1] + ((row + 0.5) / data.shape[0]) * data.seen[3]) * data.size[1];
    one(panel, ".told").textContent = `x ${Math.floor(x)}, y ${Math.floor(y)} of the picture: ${signed(map.exact[k])}; with its neighbours, smoothed ${signed(map.smooth[k])}`;
  }
  for (const panel of panels) {
    const stage = one(panel, ".stage");
    stage.addEventListener("pointermove", (event) => {
      const box = one(stage, "canvas").getBoundingClientRect();
      at[0] = clamp(Math.floor(((event.clientY - box.top) / box.height) * data.shape[0]), 0, data.shape[0] - 1);
      at[1] = clamp(Math.floor(((event.clientX - box.left) / box.width) * data.shape[1]), 0, data.shape[1] - 1);
      panels.forEach(tell);
    });
    stage.addEventListener("keydown", (event) => {
      const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (!step) return;
      event.preventDefault();
      const stride = event.shiftKey ? 10 : 1;
      at.forEach((place, k) => (at[k] = clamp(place + stride * step[k], 0, data.shape[k] - 1)));
      panels.forEach(tell);
    });
    stage.addEventListener("focus", () => tell(panel));
  }
  section.addEventListener("input", draw);
  draw();
  return { maps, panels };
}

function objects(article) {
  const section = one(article, ".objects");
  if (!section) return;
  const choose = (place) => {
    const button = one(section, `tr[data-object="${place}"] button`);
    for (const element of all(section, "[data-object]")) element.classList.toggle("lit", element.dataset.object === place);
    one(section, ".ask").textContent = `Ask for ${button.textContent}: add -F ${button.dataset.ask} to the request below.`;
  };
  section.addEventListener("click", (event) => {
    const chosen = event.target.closest("path[data-object], tr[data-object]");
    if (chosen && event.target.type !== "checkbox") choose(chosen.dataset.object);
  });
  section.addEventListener("change", (event) => {
    const place = event.target.closest("tr").dataset.object;
    one(section, `path[data-object="${place}"]`).classList.toggle("off", !event.target.checked);
  });
}

// ---------------------------------------------------------------- a text
const byWord = (tokens, spans) => spans.map(([first, last]) => sum(Array.from(tokens.slice(first, last))));

function washAll(root, selector, key, values, scale) {
  for (const element of all(root, selector)) element.style.background = wash(scale > 0 ? values[element.dataset[key]] / scale : 0);
}

function texts(article, data) {
  const section = one(article, ".text"), panels = all(section, ".panel");
  if (!panels.length) return;
  const scale = Math.max(...data.scores.flatMap((of) => of.words.map(Math.abs)), 0);
  scaleBar(section, scale, data.colours, false);
  one(section, ".meaning").textContent = "Blue raised the output, red lowered it; bars stand for the words in their order, with their errors. All texts here have this one scale. Tokens, special ones among them, have a scale of their own.";
  panels.forEach((panel, t) => {
    const of = data.scores[t], words = one(panel, ".words");
    washAll(words, ".word", "word", of.words, scale);
    washAll(panel, ".token", "token", of.tokens, Math.max(...of.tokens.map(Math.abs)));
    for (const token of all(panel, ".token")) token.title = `${signed(of.tokens[token.dataset.token])} ± ${told(of.tokens_error[token.dataset.token])}`;
    const tell = (k) => {
      const apart = of.words_spread ? `; the baselines are ${told(of.words_spread[k])} apart` : "";
      one(panel, ".told").textContent = `“${data.words[k]}”: ${signed(of.words[k])} ± ${told(of.words_error[k])}${apart}`;
      lightGroupOf(article, data, k);
    };
    strip(one(panel, ".strip"), of, scale, (k) => goTo(words, k, tell));
    rove(words, tell);
  });
}

function goTo(root, k, tell) {
  for (const word of all(root, ".word")) word.classList.toggle("here", Number(word.dataset.word) === k);
  const box = one(root, `[data-word="${k}"]`).getBoundingClientRect(), own = root.getBoundingClientRect();
  if (root.matches(".folded")) root.scrollTop += box.top - own.top - own.height / 2;
  tell(k);
}

// One stop of the keyboard for all words: arrows go from one to the next, and the pointer tells as well.
function rove(root, tell) {
  let place = -1;
  const count = all(root, ".word").length;
  root.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (!step || !count) return;
    event.preventDefault();
    goTo(root, (place = clamp(place + step, 0, count - 1)), tell);
  });
  root.addEventListener("pointerover", (event) => {
    const word = event.target.closest(".word");
    if (word) tell((place = Number(word.dataset.word)));
  });
}

// The scores in the order of the words: a long text at a glance.
function strip(svg, of, scale, go) {
  const count = of.words.length;
  svg.setAttribute("viewBox", `0 0 ${Math.max(count, 1)} 2`);
  scale = Math.max(scale, ...of.words.map((value, k) => Math.abs(value) + (of.words_error[k] ?? 0)));
  const height = (value) => clamp(Math.abs(value) / (scale || 1), 0, 1);
  of.words.forEach((value, k) => {
    svg.append(drawn("rect", { x: k + 0.1, width: 0.8, y: value > 0 ? 1 - height(value) : 1, height: height(value), class: value > 0 ? "up" : "down" }));
    const [low, high] = [value - of.words_error[k], value + of.words_error[k]].map((end) => 1 - clamp(end / (scale || 1), -1, 1));
    svg.append(drawn("path", { d: `M${k + 0.5} ${low}V${high}`, class: "whisker", "vector-effect": "non-scaling-stroke" }));
  });
  svg.append(drawn("path", { d: `M0 1H${count}`, class: "axis", "vector-effect": "non-scaling-stroke" }));
  svg.addEventListener("click", (event) => {
    const box = svg.getBoundingClientRect();
    go(clamp(Math.floor(((event.clientX - box.left) / box.width) * count), 0, count - 1));
  });
}

// ---------------------------------------------------------------- the path
function path(article, data) {
  const section = one(article, ".path");
  if (!section) return;
  const { alphas, weights, computed, values, shape } = data.path, picture = data.kind === "picture";
  const each = data.path.frames.map((packed) => {
    const gradients = unpackFrames(packed), running = [];
    gradients.forEach((frame, k) => running.push(frame.map((x, i) => x * weights[k] + (k ? running[k - 1][i] : 0))));
    return { gradients, running };
  });
  const seen = (frames) => {
    if (!picture) return frames.map((frame) => byWord(frame, data.spans));
    return frames.map((frame) => smooth(frame, shape, data.smoothing * Math.max(...shape)));
  };
  const shown = new Map();
  const framesOf = (t) => {
    if (!shown.has(t)) {
      const gradients = seen(each[t].gradients), running = seen(each[t].running);
      const most = (frames) => (picture ? percentile(frames, 99.5) : Math.max(...frames.flat().map(Math.abs)));
      shown.set(t, { gradients, running, ofGradients: gradients.map((one) => most([one])), ofRunning: most(running) });
    }
    return shown.get(t);
  };
  const slider = one(section, "[name=alpha]"), target = () => Number(one(section, "[name=path-target]")?.value ?? 0);

  function curve(k) {
    const f = values[target()], low = Math.min(...f), high = Math.max(...f);
    const x = (alpha) => 50 + 570 * alpha, y = (value) => 160 - (140 * (value - low)) / (high - low || 1);
    const points = computed.map((alpha, i) => `${x(alpha).toFixed(1)} ${y(f[i]).toFixed(1)}`);
    const ticks = alphas.map((alpha) => `M${x(alpha).toFixed(1)} 172v8`).join("");
    one(section, ".curve").replaceChildren(
      drawn("path", { d: "M50 20V160H620", class: "axis" }),
      drawn("path", { d: ticks, class: "node-tick" }),
      drawn("path", { d: `M${points.join("L")}` }),
      drawn("path", { d: `M${x(alphas[k])} 14V184`, class: "now" }),
      drawn("text", { x: 4, y: y(f[0]) + 4 }, told(f[0])),
      drawn("text", { x: 4, y: y(f[f.length - 1]) + 4 }, told(f[f.length - 1])),
      drawn("text", { x: 46, y: 196 }, "α = 0"),
      drawn("text", { x: 590, y: 196 }, "α = 1"),
    );
    let i = 0;
    while (i < computed.length - 2 && computed[i + 1] < alphas[k]) i++;
    return f[i] + ((f[i + 1] - f[i]) * (alphas[k] - computed[i])) / (computed[i + 1] - computed[i]);
  }

  function draw() {
    const k = Number(slider.value), t = target(), frames = framesOf(t);
    const f = curve(k), total = sum(weights.map((weight, j) => weight * data.path.slopes[t][j]));
    const soFar = sum(weights.slice(0, k + 1).map((weight, j) => weight * data.path.slopes[t][j]));
    const many = data.path.nodes > alphas.length ? `; each of these ${alphas.length} stands for a run of the ${data.path.nodes} nodes` : "";
    const said = `α = ${told(alphas[k])}: f = ${told(f)}, its slope ${signed(data.path.slopes[t][k])}, weight ${told(weights[k])}; accumulated so far ${signed(soFar)} of ${signed(total)}${many}`;
    one(section, ".told").textContent = said;
    slider.setAttribute("aria-valuetext", said);
    const parts = [[frames.gradients[k], frames.ofGradients[k]], [frames.running[k], frames.ofRunning]];
    all(section, ".deepest").forEach((caption, place) => (caption.textContent = `; deepest colour: ±${told(parts[place][1])}`));
    if (!picture) return all(section, ".words").forEach((words, place) => washAll(words, ".word", "word", ...parts[place]));
    all(section, ".stage").forEach((stage, place) => {
      const block = Math.ceil(Math.max(...data.shape) / Math.max(...shape)), [x, y, width, height] = data.seen, canvas = one(stage, "canvas");
      stage.classList.add("over");
      placeCanvas(canvas, [x, y, (width * shape[1] * block) / data.shape[1], (height * shape[0] * block) / data.shape[0]]);
      paint(canvas, parts[place][0], shape, parts[place][1], "overlay", 0.85, data.colours);
    });
  }
  section.addEventListener("input", draw);
  if (!picture) for (const [place, words] of all(section, ".words").entries())
    rove(words, (k) => {
      const frames = framesOf(target()), value = [frames.gradients, frames.running][place][Number(slider.value)][k];
      one(section, ".told").textContent = `“${data.words[k]}”: ${signed(value)} at α = ${told(alphas[Number(slider.value)])}`;
    });
  draw();
}

// ---------------------------------------------------------------- groups
const MEANINGS = {
  share: "The sum of the attribution over a group as a part of |f(x) − f(x′)|. Blue raised the output, red lowered it.",
  density: "The share of a group over its part of the input: 1 is an average part. Blue raised the output, red lowered it.",
  value: "v adds up the dividends of all groups within a group, from 0 to 1; it has no sign.",
  dividend: "d is a group’s |IDG| as a part of the sum over all groups, from 0 to 1; it has no sign.",
  idg: "The integrated gradient in the direction of the group. Blue raised the output, red lowered it.",
};

function groups(article, data) {
  const section = one(article, ".groups");
  if (!section) return;
  const { labels, kinds, sizes, single, whole } = data.groups, body = one(section, "tbody");
  const chosen = (name) => one(section, `[name="${name}"]`)?.value ?? 0;

  function draw() {
    const name = chosen("figure"), figure = data.groups.figures[Number(chosen("group-target"))][name], signs = !["value", "dividend"].includes(name);
    const parts = labels.map((_, k) => k).filter((k) => k !== whole), size = (k) => Math.abs(figure.of[k]);
    const order = parts.slice().sort((a, b) => size(b) - size(a)), most = order.length ? size(order[0]) : 0;
    const written = name === "share" ? percent : told;
    one(section, ".meaning").textContent = MEANINGS[name] + (whole == null ? "" : ` The whole input: ${written(figure.of[whole])}.`);
    one(section, ".figure").textContent = one(section, "[name=figure]").selectedOptions[0].textContent;
    body.replaceChildren(...order.map((k, rank) => {
      const row = document.createElement("tr"), error = figure.error[k];
      const apart = rank === 0 || Math.abs(size(k) - size(order[rank - 1])) > Math.hypot(error ?? 0, figure.error[order[rank - 1]] ?? 0);
      row.dataset.row = k;
      for (const [text, kind] of [[`${apart ? "" : "≈ "}${rank + 1}`, "number"], [kinds[k] === labels[k].split(" ")[0] || single[k] || kinds[k] === "phrase" ? labels[k] : `${kinds[k]} ${labels[k]}`, ""], [sizes[k], "number"], ["", ""], [`${written(figure.of[k])}${error > 0 ? ` ± ${written(error)}` : ""}`, "number"]]) {
        Object.assign(row.insertCell(), { textContent: text, className: kind });
      }
      row.cells[3].append(bar(figure.of[k], error, most, signs));
      return row;
    }));
    const tint = (k) => (signs ? rgb(colour(data.colours.signed, (figure.of[k] / (most || 1) + 1) / 2)) : `rgb(101 46 144 / ${(0.1 + 0.9 * size(k) / (most || 1)).toFixed(3)})`);
    // The smaller lie above the larger, which would hide them.
    for (const group of all(section, "path.group").sort((a, b) => sizes[b.dataset.row] - sizes[a.dataset.row])) {
      group.style.fill = tint(group.dataset.row);
      group.parentNode.insertBefore(group, one(section, "path.frame"));
    }
    for (const frame of all(section, "path.frame")) frame.style.display = frame.dataset.target === String(chosen("group-target")) ? "" : "none";
    ranks(section, order);
    for (const node of all(section, ".node")) {
      const k = data.groups.indices.indexOf(Number(node.dataset.group));
      one(node, "rect").style.fill = k < 0 || k === whole ? "" : wash(figure.of[k] / (most || 1), signs ? undefined : "size");
    }
  }

  function light(k) {
    const cells = [...(one(body, `[data-row="${k}"]`)?.cells ?? [])].map((cell) => cell.textContent);
    one(section, ".told").textContent = cells.length ? `${cells[1]}: ${cells[4]}, rank ${cells[0]}` : "\u00a0";
    for (const element of all(section, "[data-row]")) element.classList.toggle("lit", Number(element.dataset.row) === k);
    for (const node of all(section, ".node")) node.classList.toggle("lit", Number(node.dataset.group) === data.groups.indices[k]);
    const [first, last] = data.groups_spans?.[data.groups.indices[k]] ?? [0, 0];
    for (const word of all(article, ".text .word")) word.classList.toggle("lit", k >= 0 && data.spans[word.dataset.word][0] < last && data.spans[word.dataset.word][1] > first);
  }
  for (const event of ["pointerover", "focusin"])
    section.addEventListener(event, ({ target }) => {
      const { row, group } = target.closest("[data-row], [data-group]")?.dataset ?? {};
      if (row ?? group) light(row ? Number(row) : data.groups.indices.indexOf(Number(group)));
    });
  section.addEventListener("click", ({ target }) => target.closest("path[data-row], .node") && one(body, ".lit")?.scrollIntoView({ block: "nearest" }));
  let place = -1;
  one(section, ".ranking").closest(".scroll").addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    place = clamp(place + step, 0, body.rows.length - 1);
    light(Number(body.rows[place].dataset.row));
    body.rows[place].scrollIntoView({ block: "nearest" });
  });
  section.addEventListener("input", draw);
  article.light = light;
  draw();
}

function ranks(section, order) {
  const group = one(section, ".ranks");
  if (!group) return;
  const scale = one(section, "svg").viewBox.baseVal.width / (one(section, "svg").clientWidth || 400) / group.parentNode.transform.baseVal.consolidate().matrix.a;
  group.replaceChildren(...order.slice(0, 10).map((k, rank) => {
    const box = one(section, `path.group[data-row="${k}"]`)?.getBBox() ?? { x: 0, y: 0, width: 0, height: 0 };
    return drawn("text", { x: box.x + box.width / 2, y: box.y + box.height / 2 + 5 * scale, "font-size": 14 * scale }, rank + 1);
  }));
}

// A bar from the middle, or from the left where there are no signs, with its error at its end.
function bar(value, error, most, signs) {
  const svg = drawn("svg", { class: "bar", viewBox: "0 0 140 16", "aria-hidden": "true" });
  const place = (x) => (signs ? 70 + 65 * clamp(x / (most || 1), -1.07, 1.07) : 2 + 130 * clamp(x / (most || 1), 0, 1.05));
  const [zero, end] = [place(0), place(value)];
  svg.append(drawn("rect", { x: Math.min(zero, end), width: Math.abs(end - zero), y: 4, height: 8, class: signs ? (value > 0 ? "up" : "down") : "size" }));
  if (error > 0) svg.append(drawn("path", { class: "whisker", d: `M${place(value - error)} 8H${place(value + error)}M${place(value - error)} 4v8M${place(value + error)} 4v8` }));
  svg.append(drawn("path", { class: "axis", d: `M${zero} 1v14` }));
  return svg;
}

function lightGroupOf(article, data, word) {
  if (!article.light) return;
  const [first, last] = data.spans[word], spans = data.groups_spans;
  const inside = data.groups.indices.map((index, k) => k).filter((k) => spans[data.groups.indices[k]][0] <= first && spans[data.groups.indices[k]][1] >= last && k !== data.groups.whole);
  const width = (k) => spans[data.groups.indices[k]][1] - spans[data.groups.indices[k]][0];
  article.light(inside.length ? inside.reduce((a, b) => (width(b) < width(a) ? b : a)) : -1);
}

// ---------------------------------------------------------------- to take away
function take(article, data, picture) {
  const say = (text) => (one(article, ".take output").textContent = text);
  const save = (content, name, type) => {
    const link = document.createElement("a");
    Object.assign(link, { href: URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type })), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    say(`${name} was saved`);
  };
  const cell = (value) => (/[",\n]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : value);
  const table = (rows) => rows.map((row) => row.map(cell).join(",")).join("\n") + "\n";
  const actions = {
    json: () => save(JSON.stringify(data.info, null, 1), "attribution.json", "application/json"),
    csv: () => save(table(rows()), "attribution.csv", "text/csv"),
    png: () => {
      const panel = picture?.panels[0], image = one(article, "img.source"), canvas = document.createElement("canvas");
      canvas.width = Math.max(image.naturalWidth, 400);
      canvas.height = Math.max(1, Math.round((canvas.width * data.size[1]) / data.size[0]));
      const context = canvas.getContext("2d"), [x, y, width, height] = data.seen;
      context.filter = panel && one(panel, ".stage.over") ? "grayscale(1)" : "none";
      context.drawImage(image, 0, 0, canvas.width, canvas.height);
      context.filter = "none";
      if (panel) context.drawImage(one(panel, "canvas"), x * canvas.width, y * canvas.height, width * canvas.width, height * canvas.height);
      canvas.toBlob((blob) => save(blob, "attribution.png"));
    },
    curl: async () => {
      const command = one(article, ".command");
      try {
        await navigator.clipboard.writeText(command.textContent);
        say("copied");
      } catch {
        getSelection().selectAllChildren(command);
        say("selected; copy it by the keyboard");
      }
    },
  };
  function rows() {
    if (data.groups) {
      const names = ["share", "density", "value", "dividend", "idg"];
      const head = ["target", "group", "kind", "size", ...names.flatMap((name) => [name, `${name}_error`])];
      return [head, ...data.groups.figures.flatMap((of, t) => data.groups.labels.map((label, k) => [data.titles[t], label, data.groups.kinds[k], data.groups.sizes[k], ...names.flatMap((name) => [of[name].of[k], of[name].error[k] ?? ""])]))];
    }
    if (data.kind === "text") return [["target", "word", "score", "error"], ...data.scores.flatMap((of, t) => data.words.map((word, k) => [data.titles[t], word, of.words[k], of.words_error[k]]))];
    const width = data.shape[1];
    return [["target", "row", "column", "attribution"], ...(picture?.maps ?? []).flatMap((of, t) => Array.from(of.attribution.exact, (x, k) => [data.titles[t], Math.floor(k / width), k % width, x]))];
  }
  one(article, ".take").addEventListener("click", ({ target }) => actions[target.dataset.take]?.());
}

for (const article of document.querySelectorAll("article")) {
  const data = JSON.parse(one(article, 'script[type="application/json"]').textContent);
  const picture = data.kind === "picture" ? pictures(article, data) : texts(article, data);
  objects(article);
  groups(article, data);
  path(article, data);
  take(article, data, picture);
}
