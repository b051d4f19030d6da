// Small comforts; every page works without them.
"use strict";

document.addEventListener("click", (event) => {
  const menu = event.target.closest("[data-menu]");
  if (menu) {
    const open = document.body.classList.toggle("menu-open");
    menu.setAttribute("aria-expanded", String(open));
    return;
  }
  const copy = event.target.closest("[data-copy]");
  if (copy) {
    const source = document.getElementById(copy.dataset.copy);
    navigator.clipboard?.writeText(source.value ?? source.textContent.trim()).then(() => {
      copy.classList.add("copied");
    });
    return;
  }
  if (event.target.closest("[data-back]")) {
    history.back();
    return;
  }
  for (const open of document.querySelectorAll("details.drop[open]")) {
    if (!open.contains(event.target)) open.open = false;
  }
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const open of document.querySelectorAll("details.drop[open]")) {
    open.open = false;
    open.querySelector("summary").focus();
  }
});

// A button that waits until the name is typed: <input data-confirm="NAME"> in its form.
function weigh(input) {
  const button = input.form?.querySelector("[data-needs-confirm]");
  if (button) button.disabled = input.value.trim() !== input.dataset.confirm;
}

// A tick that ticks all: <input type="checkbox" data-all="name-of-the-others">.
document.addEventListener("input", (event) => {
  const input = event.target;
  if (input.matches("[data-confirm]")) weigh(input);
  if (input.matches("[data-all]")) {
    for (const one of input.form.querySelectorAll(`input[name="${input.dataset.all}"]:not(:disabled)`)) {
      one.checked = input.checked;
    }
  }
  const form = input.closest("form[data-count]");
  if (form) tell(form);
});

// A selection tells how many are chosen: <form data-count="name">, <output data-chosen>.
function tell(form) {
  const chosen = form.querySelectorAll(`input[name="${form.dataset.count}"]:checked`).length;
  for (const one of form.querySelectorAll("[data-chosen]")) one.textContent = String(chosen);
  for (const one of form.querySelectorAll("[data-needs-chosen]")) one.disabled = chosen === 0;
}

// Parts of a form that only one choice needs: <fieldset data-when="field=value other">.
function fold(form) {
  for (const part of form.querySelectorAll("[data-when]")) {
    const [name, values] = part.dataset.when.split("=");
    const field = form.elements[name];
    const value = field instanceof RadioNodeList || field?.type !== "checkbox" ? field?.value : String(field.checked);
    const wanted = values.split(" ").includes(value);
    part.hidden = !wanted;
    if ("disabled" in part) part.disabled = !wanted;
  }
}
document.addEventListener("change", (event) => {
  if (event.target.form) fold(event.target.form);
  if (event.target.matches("[data-submit]")) event.target.form.requestSubmit();
});

// A log that stays at its end while it grows, unless somebody reads further up: <div data-follow>.
function follow(log) {
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 120;
  if (atEnd || !("seen" in log.dataset)) log.scrollTop = log.scrollHeight;
  log.dataset.seen = "";
}

function settle(root) {
  for (const one of document.querySelectorAll("[data-follow]")) follow(one);
  for (const one of root.querySelectorAll("[data-back]")) one.hidden = history.length < 2;
  for (const one of root.querySelectorAll("[data-zone]")) {
    one.value = Intl.DateTimeFormat().resolvedOptions().timeZone ?? "";
  }
  for (const one of root.querySelectorAll("[data-confirm]")) weigh(one);
  for (const one of root.querySelectorAll("form[data-count]")) tell(one);
  for (const one of root.querySelectorAll("form")) fold(one);
}

settle(document);
document.addEventListener("htmx:load", (event) => {
  settle(event.detail.elt);
  const form = event.detail.elt.closest("form");
  if (form) fold(form);
});
document.addEventListener("htmx:afterRequest", (event) => {
  document.body.classList.toggle("out-of-touch", Boolean(event.detail.failed && !event.detail.xhr.status));
});
