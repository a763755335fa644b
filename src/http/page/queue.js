// Photos wait here: a few are asked for at once, and those that the server has no room for come back when it says.

/** Requests at once: enough to keep the server's batches filled by one page, too few to crowd out others. */
const AT_ONCE = 2;

/** A photo is sent this often before it needs a hand. */
const TRIES = 8;

export class Queue {
  #run;
  #waiting = [];
  #running = new Map();
  #timers = new Map();

  /** `run(card, signal)` gives the seconds after which it is to be run again, if it is. */
  constructor(run) {
    this.#run = run;
  }

  add(card) {
    this.drop(card);
    card.tries = 0;
    this.#push(card);
  }

  /** Forgets a card, whatever it is doing. */
  drop(card) {
    this.#waiting = this.#waiting.filter((other) => other !== card);
    clearTimeout(this.#timers.get(card));
    this.#timers.delete(card);
    this.#running.get(card)?.abort();
    this.#running.delete(card);
  }

  #push(card) {
    card.waiting("waiting…");
    this.#waiting.push(card);
    this.#next();
  }

  async #next() {
    if (this.#running.size >= AT_ONCE || this.#waiting.length === 0) {
      return;
    }
    const card = this.#waiting.shift();
    const abort = new AbortController();
    this.#running.set(card, abort);
    card.tries += 1;
    try {
      const seconds = await this.#run(card, abort.signal);
      if (seconds !== undefined && !abort.signal.aborted) {
        this.#later(card, seconds);
      }
    } catch (error) {
      if (!abort.signal.aborted) {
        card.failed({ code: "page", title: "The page failed", detail: String(error) });
      }
    }
    if (this.#running.get(card) === abort) {
      this.#running.delete(card);
    }
    this.#next();
  }

  #later(card, seconds) {
    if (card.tries >= TRIES) {
      card.failed({ code: "busy", title: "The server is busy", detail: `it had no room ${TRIES} times in a row` });
      return;
    }
    const again = () => {
      this.#timers.delete(card);
      this.#push(card);
    };
    this.#timers.set(card, setTimeout(again, seconds * 1000));
  }
}
