// One live chart. Python sends messages (delta.py); Plotly.react draws them into the same DOM node every time.

const shared = (window.__cggmCharts ??= { plotly: null, groups: new Map(), byRoot: new WeakMap() });

function loadPlotly(url) {
  shared.plotly ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = url;
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => {
      shared.plotly = null;
      reject(new Error("plotly.js could not be loaded from this server; reload the page"));
    };
    document.head.appendChild(script);
  });
  return shared.plotly;
}

const TYPES = { f4: Float32Array, i4: Int32Array };

function decoded({ dtype, bdata }) {
  const bytes = Uint8Array.from(atob(bdata), (letter) => letter.charCodeAt(0));
  return new TYPES[dtype](bytes.buffer);
}

function joined(old, keep, packed) {
  const tail = decoded(packed);
  if (!keep) return tail;
  const whole = new tail.constructor(keep + tail.length);
  whole.set(old.subarray(0, keep));
  whole.set(tail, keep);
  return whole;
}

// Colour tokens ("@fused") become colours of the page's theme; arrays of numbers are passed through.
function toned(value, tones) {
  if (typeof value === "string") return tones[value] ?? value;
  if (Array.isArray(value)) return value.map((inner) => toned(inner, tones));
  if (value && typeof value === "object" && !ArrayBuffer.isView(value)) {
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, toned(inner, tones)]));
  }
  return value;
}

function pageColours(root) {
  const style = getComputedStyle(root);
  const read = (name) => style.getPropertyValue(name).trim();
  const background = read("--st-background-color") || "#ffffff";
  const probe = document.createElement("canvas").getContext("2d");
  probe.fillStyle = background;
  const hex = probe.fillStyle.slice(1);
  const [red, green, blue] = [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16));
  const dark = 0.299 * red + 0.587 * green + 0.114 * blue < 128;
  return { mode: dark ? "dark" : "light", background, font: read("--st-font") || "sans-serif" };
}

const isAxis = (name) => /^[xy]axis\d*$/.test(name);

class Chart {
  constructor(root) {
    this.root = root;
    this.box = root.querySelector(".cggm-chart");
    this.plot = root.querySelector(".cggm-plot");
    this.error = root.querySelector(".cggm-chart-error");
    this.version = null;
    this.traces = new Map();
    this.layout = {};
    this.ranges = {};
    this.hidden = new Map();
    this.asked = 0;
    this.visible = true;
    this.dirty = false;
    this.listening = false;
    this.drawing = Promise.resolve();
    this.watchPlace();
  }

  // Charts out of sight take their data and are drawn when they come into sight.
  watchPlace() {
    this.sight = new IntersectionObserver(([entry]) => {
      this.visible = entry.isIntersecting;
      if (this.visible && this.dirty) this.draw();
    }, { rootMargin: "200px" });
    this.sight.observe(this.box);
    this.size = new ResizeObserver(() => {
      clearTimeout(this.sizing);
      this.sizing = setTimeout(() => {
        if (this.listening && this.plot.offsetWidth) window.Plotly.Plots.resize(this.plot);
      }, 80);
    });
    this.size.observe(this.box);
    this.box.addEventListener("keydown", (event) => this.key(event));
  }

  receive(message, ask) {
    this.last = message;
    this.box.style.height = `${message.height}px`;
    this.box.tabIndex = 0;
    this.box.setAttribute("role", "group");
    this.box.setAttribute("aria-roledescription", "chart");
    this.box.setAttribute("aria-label", `${message.alt} Arrow keys move along the x axis, plus and minus zoom, 0 resets.`);
    this.join(message.link);
    const repeated = message.version === this.version;
    if (!repeated && message.base !== null && message.base !== this.version) return this.resend(ask);
    if (!repeated) this.take(message);
    const look = JSON.stringify(pageColours(this.root));
    if (repeated && look === this.look) return undefined;
    this.look = look;
    this.dirty = true;
    return this.draw();
  }

  // Lost or overtaken messages: ask for everything, but not again while the answer is on its way.
  resend(ask) {
    if (Date.now() - this.asked < 2000) return;
    this.asked = Date.now();
    ask();
  }

  take(message) {
    const known = message.base === null ? new Map() : this.traces;
    const next = new Map();
    for (const sent of message.traces) {
      const trace = known.get(sent.uid) ?? { arrays: {} };
      if (sent.style) trace.style = sent.style;
      if (sent.x) {
        trace.arrays = {
          x: joined(trace.arrays.x, sent.keep, sent.x),
          y: joined(trace.arrays.y, sent.keep, sent.y),
        };
      }
      next.set(sent.uid, trace);
    }
    this.traces = next;
    // A server that begins anew does not know what is looked at; one of linked charts says it for all.
    const speaker = this.group ? this.group.members.values().next().value : this;
    if (message.base === null && speaker === this && this.chosen().x) this.tellPage();
    if (message.layout) this.layout = message.layout;
    this.version = message.version;
    this.asked = 0;
  }

  draw() {
    if (!this.visible) return undefined;
    if (this.plot._dragging) {
      clearTimeout(this.waiting);
      this.waiting = setTimeout(() => this.draw(), 150);
      return undefined;
    }
    this.dirty = false;
    this.drawing = this.drawing.then(() => this.drawNow()).catch((problem) => this.report(problem));
    return this.drawing;
  }

  async drawNow() {
    const Plotly = await loadPlotly(this.last.script);
    if (!this.root.isConnected) return;
    const page = pageColours(this.root);
    const tones = this.last.tones[page.mode];
    const data = [...this.traces.values()].map(({ style, arrays }) => ({
      ...toned(style, tones), ...arrays, visible: this.hidden.get(style.uid) ?? true,
    }));
    const layout = toned(this.layout, tones);
    layout.font = { ...layout.font, family: page.font };
    layout.hoverlabel = { ...layout.hoverlabel, bgcolor: page.background };
    layout.height = this.last.height;
    this.applyRanges(layout);
    const began = performance.now();
    // The same object every time: Plotly builds the whole chart anew when it sees other settings.
    this.settings ??= this.config(Plotly);
    await Plotly.react(this.plot, data, layout, this.settings);
    this.plot.dataset.draws = 1 + Number(this.plot.dataset.draws ?? 0);
    this.plot.dataset.blockedMs = (performance.now() - began).toFixed(1);
    this.error.hidden = true;
    if (!this.listening) this.listen();
  }

  config(Plotly) {
    const picture = (format, title) => ({
      name: `picture-${format}`,
      title,
      icon: Plotly.Icons.camera,
      click: (plot) => Plotly.downloadImage(plot, {
        format, filename: this.last.file, scale: format === "png" ? 3 : 1,
        width: plot.offsetWidth, height: plot.offsetHeight,
      }),
    });
    const reset = { name: "reset", title: "Reset view", icon: Plotly.Icons.home, click: () => this.reset() };
    return {
      displaylogo: false,
      responsive: false,
      doubleClick: false,
      showSendToCloud: false,
      modeBarButtons: [
        ["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", reset],
        [picture("png", "Save as PNG"), picture("svg", "Save as SVG")],
      ],
    };
  }

  // Ranges and hidden lines that a person chose are held here and put into every new figure, because Plotly's
  // own memory (uirevision) knows neither linked charts nor views that move with the data. x belongs to the group.
  chosen() {
    return { ...this.ranges, ...(this.group ? this.group.ranges : {}) };
  }

  applyRanges(layout) {
    for (const [name, range] of Object.entries(this.chosen())) {
      const axes = name === "x" ? Object.keys(layout).filter((key) => /^xaxis\d*$/.test(key)) : [name];
      for (const axis of axes) {
        if (layout[axis]) Object.assign(layout[axis], { range: [...range], autorange: false });
      }
    }
  }

  listen() {
    this.listening = true;
    this.plot.on("plotly_relayout", (change) => this.moved(change));
    this.plot.on("plotly_restyle", () => {
      for (const trace of this.plot.data) this.hidden.set(trace.uid, trace.visible ?? true);
    });
    this.plot.on("plotly_doubleclick", () => this.reset());
    this.plot.on("plotly_click", ({ points }) => {
      const said = points[0]?.customdata;
      if (said !== undefined) this.pick?.(said);
    });
  }

  moved(change) {
    if (this.quiet) return;
    let shifted = false;
    for (const axis of Object.keys(this.plot.layout).filter(isAxis)) {
      if (!Object.keys(change).some((name) => name.startsWith(`${axis}.range`))) continue;
      const range = [...this.plot.layout[axis].range];
      if (axis.startsWith("x")) {
        shifted = true;
        (this.group ? this.group.ranges : this.ranges).x = range;
      } else {
        this.ranges[axis] = range;
      }
    }
    if (shifted) this.tellOthers();
  }

  // The page may draw the part in view from more of its rows; asked for when the view has come to rest.
  tellPage() {
    if (!this.last.tell) return;
    clearTimeout(this.telling);
    this.telling = setTimeout(() => this.viewed?.({ range: this.chosen().x ?? null }), 250);
  }

  tellOthers() {
    this.tellPage();
    for (const other of this.group?.members ?? []) if (other !== this) other.follow();
  }

  follow() {
    this.dirty = true;
    this.draw();
  }

  reset() {
    this.ranges = {};
    if (this.group) this.group.ranges = {};
    this.follow();
    this.tellOthers();
  }

  key(event) {
    const axis = this.plot.layout?.xaxis;
    if (!axis?.range || event.target !== this.box) return;
    const [low, high] = axis.range;
    const width = high - low;
    const moves = {
      ArrowLeft: [low - width / 10, high - width / 10],
      ArrowRight: [low + width / 10, high + width / 10],
      "+": [low + width / 5, high - width / 5],
      "=": [low + width / 5, high - width / 5],
      "-": [low - width / 3, high + width / 3],
    };
    if (event.key === "0") this.reset();
    else if (moves[event.key]) {
      (this.group ? this.group.ranges : this.ranges).x = moves[event.key];
      this.follow();
      this.tellOthers();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  join(link) {
    if (this.link === link) return;
    this.leave();
    this.link = link;
    if (!link) return;
    if (!shared.groups.has(link)) shared.groups.set(link, { ranges: {}, members: new Set() });
    this.group = shared.groups.get(link);
    this.group.members.add(this);
  }

  leave() {
    delete this.ranges.x;
    this.group?.members.delete(this);
    if (this.group && !this.group.members.size) shared.groups.delete(this.link);
    this.group = null;
  }

  report(problem) {
    this.error.textContent = `The chart could not be drawn: ${problem?.message ?? problem}`;
    this.error.hidden = false;
  }

  close() {
    this.leave();
    this.sight.disconnect();
    this.size.disconnect();
    clearTimeout(this.waiting);
    clearTimeout(this.sizing);
    clearTimeout(this.telling);
    if (this.listening) window.Plotly.purge(this.plot);
    shared.byRoot.delete(this.root);
  }
}

export default function ({ data, parentElement, setTriggerValue }) {
  let chart = shared.byRoot.get(parentElement);
  if (!chart && !parentElement.querySelector(".cggm-chart")) return undefined;
  if (!chart) shared.byRoot.set(parentElement, (chart = new Chart(parentElement)));
  chart.viewed = (said) => setTriggerValue("view", said);
  chart.pick = (said) => setTriggerValue("picked", said);
  try {
    const { figure, page } = JSON.parse(new TextDecoder().decode(data));
    chart.receive({ ...page, ...figure }, () => setTriggerValue("resend", Date.now()));
  } catch (problem) {
    chart.report(problem);
  }
  return () => chart.close();
}
