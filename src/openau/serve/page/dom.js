// Small helpers: elements without innerHTML (a file's name is never markup), requests with problems as sentences.

export const $ = (id) => document.getElementById(id);

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value != null) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

export async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("OpenAU does not answer. Is `openau serve` still running?");
  }
  if (!response.ok) throw new Error(await sentence(response));
  return response;
}

export async function sentence(response) {
  if (response.status === 401) location.reload();
  try {
    return (await response.json()).detail;
  } catch {
    return `the server answered ${response.status}`;
  }
}

export function save(name, content, type) {
  const url = URL.createObjectURL(new Blob([content], { type }));
  const link = make("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

export function tell(element, text, bad = false) {
  element.textContent = text;
  element.classList.toggle("bad", bad);
  element.hidden = !text;
}

export const isLocal = /^(localhost|127\..*|\[::1\])$/.test(location.hostname);

export const stem = (name) => name.replace(/\.[^.]*$/, "") || name;
