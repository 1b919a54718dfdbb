// Making elements. Text is always set as text: nothing here takes HTML.

import { S } from "./strings.js";

// Those of index.html are put there by files.py: a path on one line each.
const ICONS = {
  plus: "M12 5v14M5 12h14",
  close: "M6 6l12 12M18 6L6 18",
  menu: "M4 7h16M4 12h16M4 17h16",
  download: "M12 4v11M7 11l5 5 5-5M5 20h14",
  upload: "M12 16V5M7 9l5-5 5 5M5 20h14",
  keyboard: "M3 7h18v10H3zM7 11h.01M11 11h.01M15 11h.01M8 14h8",
  sun: "M12 8a4 4 0 100 8 4 4 0 000-8zM12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.4 1.4M17.6 17.6L19 19M5 19l1.4-1.4M17.6 6.4L19 5",
  code: "M8 7l-5 5 5 5M16 7l5 5-5 5",
  sliders: "M4 7h9M17 7h3M15 5v4M4 17h3M11 17h9M9 15v4",
  down: "M12 5v14M6 13l6 6 6-6",
  clip: "M20 11l-8.5 8.5a5 5 0 01-7-7L13 4a3.5 3.5 0 015 5l-8.5 8.5a2 2 0 01-3-3L14 7",
  bulb: "M9 18h6M10 21h4M12 3a6 6 0 00-4 10.5c.7.7 1 1.500 1 2.500h6c0-1 .3-1.800 1-2.500A6 6 0 0012 3z",
  send: "M12 20V5M6 11l6-6 6 6",
  stop: "M7 7h10v10H7z",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  check: "M5 13l4 4L19 7",
  again: "M20 11a8 8 0 10-2 6M20 5v6h-6",
  edit: "M4 20h4L19 9l-4-4L4 16zM13 7l4 4",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  left: "M14 6l-6 6 6 6",
  right: "M10 6l6 6-6 6",
  file: "M6 3h8l4 4v14H6zM14 3v4h4",
  tool: "M15 6a4 4 0 015-1l-3 3 1 1 3-3a4 4 0 01-5 5l-8 8-3-3 8-8a4 4 0 012-2z",
  braces: "M9 4c-3 0-2 3-2 5s-1 3-3 3c2 0 3 1 3 3s-1 5 2 5M15 4c3 0 2 3 2 5s1 3 3 3c-2 0-3 1-3 3s1 5-2 5",
};

/** The element of an id. */
export const byId = (id) => document.getElementById(id);

/** An element: `on` holds listeners, `data` the dataset, `class` and `text` what they say, the rest are attributes. */
export function el(tag, { on = {}, data = {}, class: className, text, ...attributes } = {}, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  Object.assign(element.dataset, data);
  for (const [name, listener] of Object.entries(on)) element.addEventListener(name, listener);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "value") element.value = value;
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** A drawing for a button; screen readers get the button's label. */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** A button with a drawing and a label, or with a drawing and a text. */
export function button({ icon: name, label, text, class: className = text ? "" : "icon", click, ...rest }) {
  const children = [name ? icon(name) : null, text ? el("span", { text }) : null];
  return el(
    "button",
    {
      type: "button",
      class: className,
      title: label,
      "aria-label": text ? null : label,
      on: click ? { click } : {},
      ...rest,
    },
    ...children,
  );
}

// Characters that are laid out at once: a browser takes seconds for millions.
const AT_ONCE = 50_000;

/** A text as it is: of a very long one the start, and a button that shows all of it. */
export function plainText(text, className) {
  const element = el("div", { class: className });
  if (text.length <= 2 * AT_ONCE) {
    element.textContent = text;
    return element;
  }
  const showAll = () => {
    element.textContent = text;
    // The button had the focus.
    element.tabIndex = -1;
    element.focus({ preventScroll: true });
  };
  // Not half of a character.
  element.textContent = `${text.slice(0, AT_ONCE).replace(/[\ud800-\udbff]$/, "")} …\n`;
  element.append(button({ text: S.showAll(text.length), class: "small", click: showAll }));
  return element;
}

/** Gives an element these children. What is in its place stays there: a press on it, or a selection in it, would be lost. */
export function arrange(parent, children) {
  const wanted = new Set(children);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  let place = parent.firstElementChild;
  for (const child of children) {
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
  }
}

/** Says something to screen readers. */
export function announce(text) {
  byId("announce").textContent = text;
}

/** Copies a text; true when it was. Pages that did not come over HTTPS or from this machine have no clipboard. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = el("textarea", { value: text, class: "hidden" });
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

/** A button that copies what `text()` gives, and says so for a moment. */
export function copyButton(text, label = S.copy) {
  const made = button({
    icon: "copy",
    label,
    click: async () => {
      const done = await copyText(text());
      made.replaceChildren(icon(done ? "check" : "close"));
      announce(done ? S.copied : S.copyFailed);
      setTimeout(() => made.replaceChildren(icon("copy")), 1500);
    },
  });
  return made;
}

/** Offers a text as a file. */
export function download(name, text, type = "application/json") {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = el("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
