// Enhances the pages. Without script, every form submits itself and every page shows the same content.
"use strict";

const article = document.querySelector("article[data-blog]");

// Reads the blog's counters from the API.
async function refresh() {
  // The ETag covers the text only: a conditional request would get 304 without the counters.
  const answer = await fetch(`/v1/blogs/${article.dataset.blog}`, { credentials: "omit", cache: "no-store" });
  if (!answer.ok) return;
  const blog = await answer.json();
  for (const place of document.querySelectorAll("[data-total]")) {
    const n = blog[place.dataset.total];
    const text = n.toLocaleString("en").replaceAll(",", "\u202f");
    if (place.textContent === text) continue;
    place.textContent = text;
    place.nextElementSibling.textContent = place.nextElementSibling.dataset.one + (n === 1 ? "" : "s");
  }
}

// Likes a blog without leaving the page. The count changes once the event has been counted.
async function like(event) {
  event.preventDefault();
  const form = event.currentTarget;
  const button = form.querySelector("button");
  const answer = await fetch(form.action, { method: "POST" });
  if (!answer.ok || new URL(answer.url).pathname === "/sign-in") {
    location.assign(answer.redirected ? answer.url : location.href);
    return;
  }
  const likes = form.action.endsWith("/like");
  form.action = form.action.replace(/\/(un)?like$/, likes ? "/unlike" : "/like");
  button.textContent = likes ? "Liked" : "Like";
  button.setAttribute("aria-pressed", String(likes));
}

if (article) {
  document.querySelector("form.like")?.addEventListener("submit", like);
  const numbers = document.querySelector(".engage .numbers");
  if (numbers) {
    refresh();
    setInterval(() => document.hidden || refresh(), 2000);
  }
}
