// A service worker that lets the page start without a network: what cannot be fetched comes from the cache that
// app.js has filled. With a network nothing comes from there, so a new version of the page is seen at once.

"use strict";

onfetch = (event) => {
  if (event.request.method !== "GET") return;
  event.respondWith(fetch(event.request).catch((error) => kept(event.request, error)));
};

async function kept(request, error) {
  const answer = await caches.match(request.mode === "navigate" ? "./" : request);
  if (!answer) throw error;
  return answer;
}
