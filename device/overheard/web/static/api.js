// The JSON API and the event stream.

export class ApiError extends Error {}

/** Ask the API; resolves to its answer, or throws an ApiError whose message is for people. */
export async function api(method, path, body, options = {}) {
  let response;
  try {
    response = await fetch(`/api/v1${path}`, {
      method, ...options,
      headers: body === undefined ? {} : { "content-type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("Cannot connect to overheard web.");
  }
  if (response.status === 401) location.assign("/login");
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) {
    const { problem, remedy } = answer.error ?? {};
    throw new ApiError(remedy ? `${problem}; ${remedy}` : problem ?? `error ${response.status}`);
  }
  return answer;
}

/**
 * What `listen` hears. It emits "change" with each status, the events of the stream by their names, and "returned"
 * when the stream or `listen` is back after events may have been missed.
 */
class Live extends EventTarget {
  constructor() {
    super();
    this.reachable = false; // whether the page's server is
    this.running = false; // whether `listen` is
    this.rooms = []; // their names; empty if there are none
    this.room = ""; // the one that is shown, where only one is
    this.statuses = new Map(); // by room: the status, and performance.now() when it arrived
    this.mel = false;
    this.source = null;
    this.greeted = false; // whether the page's server has said once whether `listen` runs
    document.addEventListener("visibilitychange", () => this.connect());
  }

  /** Ask for the log-mel picture too, or no more. */
  want(mel) {
    if (mel !== this.mel || !this.source) { this.mel = mel; this.connect(); }
  }

  connect() {
    this.source?.close();
    this.source = null;
    if (document.hidden) return; // a hidden page costs nothing
    const source = (this.source = new EventSource(`/api/v1/events${this.mel ? "?mel=true" : ""}`));
    source.addEventListener("live", (event) => {
      this.reachable = true;
      const { running, rooms } = JSON.parse(event.data);
      this.running = running;
      this.rooms = rooms;
      if (!rooms.includes(this.room)) this.room = rooms[0] ?? "";
      this.statuses.clear();
      this.changed();
      if (this.greeted) this.dispatchEvent(new Event("returned"));
      this.greeted = true;
    });
    source.addEventListener("status", (event) => {
      const status = JSON.parse(event.data);
      this.statuses.set(status.room, { status, at: performance.now() });
      this.changed();
    });
    for (const name of ["play_started", "play_ended", "music_unknown", "silence", "mel"]) {
      source.addEventListener(name, (event) => this.dispatchEvent(new CustomEvent(name, { detail: JSON.parse(event.data) })));
    }
    source.onerror = () => {
      this.reachable = this.running = false;
      this.statuses.clear();
      this.changed();
      if (source.readyState === EventSource.CLOSED && this.source === source) setTimeout(() => this.source === source && this.connect(), 5000);
    };
  }

  changed() { this.dispatchEvent(new Event("change")); }

  get status() { return this.statusOf(this.room); }
  get playing() { return this.playingIn(this.room); }
  get position() { return this.positionIn(this.room); }
  get text() { return this.textOf(this.room); }

  statusOf(room) { return this.statuses.get(room)?.status ?? null; }

  /** The play that is heard. */
  playingIn(room) { return this.statusOf(room)?.playing ?? null; }

  /** Its position now. */
  positionIn(room) {
    const play = this.playingIn(room);
    if (!play) return 0;
    const position = play.position_s + ((performance.now() - this.statuses.get(room).at) / 1000) * play.speed;
    return play.duration_s ? Math.min(position, play.duration_s) : position;
  }

  /** One line about what happens. */
  textOf(room) {
    if (!this.reachable) return "Connecting…";
    if (!this.running) return "Not listening";
    const status = this.statusOf(room);
    if (!status) return "Waiting for sound";
    return {
      "silence": "Silence", "no music": "No music", "searching": "Listening…", "playing": "Playing now",
      "unknown music": "Unknown music", "paused": "Paused", "disconnected": "Microphone disconnected",
    }[status.state] ?? status.state;
  }
}

export const live = new Live();
