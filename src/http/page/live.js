// The strip with what the server does now, from /metrics; hidden where that is on another address.

const EVERY_MS = 3000;

/** Sums of the exposition by metric name, and the buckets of answers' times. */
function read(text) {
  const sums = new Map();
  const buckets = new Map();
  let errors = 0;
  for (const line of text.split("\n")) {
    const [, name, labels = "", value] = /^([a-z_]+)(\{[^}]*\})? (\S+)/.exec(line) ?? [];
    if (name === undefined) {
      continue;
    }
    sums.set(name, (sums.get(name) ?? 0) + Number(value));
    if (name === "resnet_requests_total" && /status="5/.test(labels) && labels.includes("classify")) {
      errors += Number(value);
    }
    if (name === "resnet_request_duration_seconds_bucket" && labels.includes('outcome="answered"')) {
      const [, le] = /le="([^"]+)"/.exec(labels);
      const end = le === "+Inf" ? Infinity : Number(le);
      buckets.set(end, (buckets.get(end) ?? 0) + Number(value));
    }
  }
  return { sums, buckets, errors, at: performance.now() };
}

/** The end of the bucket that holds the 99th percentile of what came between two readings. */
function p99(before, now) {
  const counts = [...now.buckets].map(([end, count]) => [end, count - (before.buckets.get(end) ?? 0)]).sort((a, b) => a[0] - b[0]);
  const all = counts.at(-1)?.[1] ?? 0;
  return all > 0 ? counts.find(([, count]) => count >= 0.99 * all)[0] : undefined;
}

function sentence(before, now) {
  const seconds = (now.at - before.at) / 1000;
  const delta = (name) => (now.sums.get(name) ?? 0) - (before.sums.get(name) ?? 0);
  const slow = p99(before, now);
  const parts = [
    `${(delta("resnet_batch_size_sum") / seconds).toFixed(1)} images/s`,
    `${now.sums.get("resnet_queue_depth") ?? 0} of ${now.sums.get("resnet_queue_max") ?? "?"} places taken`,
    slow === undefined ? "no answer to measure" : `p99 ${slow === Infinity ? "above the scale" : `≤ ${Math.round(slow * 1000)} ms`}`,
    `${now.errors - before.errors} refused or failed`,
  ];
  return `The server now: ${parts.join(" · ")}`;
}

/** Shows it in `element`, as long as there is something to see and somebody looks. */
export async function watchServer(element) {
  let before;
  for (;;) {
    if (!document.hidden) {
      const response = await fetch("metrics").catch(() => undefined);
      if (response?.status === 404) {
        return;
      }
      if (response?.ok) {
        const now = read(await response.text());
        if (before) {
          element.textContent = sentence(before, now);
          element.hidden = false;
        }
        before = now;
      } else {
        element.hidden = false;
        element.textContent = "The server does not answer.";
        before = undefined;
      }
    }
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
  }
}
