const faults = [];
const wide = document.documentElement.scrollWidth;
if (wide > innerWidth) faults.push(`the page is ${wide} wide in a window of ${innerWidth}`);
if (document.querySelectorAll("main").length !== 1) faults.push("there is not one main");
if (document.querySelectorAll("h1").length !== 1) faults.push("there is not one h1");
if (!document.documentElement.lang) faults.push("the page has no language");
for (const field of document.querySelectorAll("input:not([type=hidden]), textarea, select")) {
  if (!field.labels.length) faults.push(`a field without a label: ${field.name}`);
}
for (const one of document.querySelectorAll("a, button, summary")) {
  if (!one.textContent.trim() && !one.ariaLabel) faults.push(`a control without a name: ${one.outerHTML}`);
}
for (const picture of document.querySelectorAll("svg")) {
  if (!picture.getAttribute("aria-label")) faults.push("a picture without a label");
}

// Contrast: relative luminance and ratio as WCAG 2.1 defines them.
const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
function rgba(color) {
  canvas.clearRect(0, 0, 1, 1);
  canvas.fillStyle = color;
  canvas.fillRect(0, 0, 1, 1);
  const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
  return [r, g, b, a / 255];
}
function over([r, g, b, a], [r2, g2, b2]) {
  return [r * a + r2 * (1 - a), g * a + g2 * (1 - a), b * a + b2 * (1 - a), 1];
}
function ground(element) {
  if (!element) return [255, 255, 255, 1];
  const own = rgba(getComputedStyle(element).backgroundColor);
  return own[3] === 1 ? own : over(own, ground(element.parentElement));
}
function luminance(color) {
  const [r, g, b] = color.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (texts.nextNode()) {
  const element = texts.currentNode.parentElement;
  if (!texts.currentNode.data.trim() || !element.checkVisibility() || element.closest("noscript, script")) continue;
  const style = getComputedStyle(element);
  const [front, back] = [luminance(over(rgba(style.color), ground(element))), luminance(ground(element))];
  const ratio = (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
  const size = parseFloat(style.fontSize);
  const least = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
  if (ratio < least) faults.push(`${ratio.toFixed(2)} to 1: ${texts.currentNode.data.trim().slice(0, 40)}`);
}
return faults;
