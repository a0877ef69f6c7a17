// The full-screen view, in the JavaScript that browsers of 2012 understand.
(function () {
  "use strict";
  var play = null, at = 0, shown = "", stateText = "Connecting";
  var plays = {}, where = ""; // the plays of all rooms, and the room of the one that is shown: it started last
  var STATES = {
    "silence": "Silence", "no music": "No music", "searching": "Listening", "playing": "Playing now",
    "unknown music": "Unknown music", "paused": "Paused", "disconnected": "Microphone disconnected"
  };

  function byId(id) { return document.getElementById(id); }
  function put(id, text) { var node = byId(id); if (node.textContent !== text) node.textContent = text; }
  function two(n) { return n < 10 ? "0" + n : "" + n; }
  function time(seconds) {
    var whole = Math.max(0, Math.floor(seconds)), h = Math.floor(whole / 3600);
    return (h ? h + ":" + two(Math.floor(whole / 60) % 60) : Math.floor(whole / 60)) + ":" + two(whole % 60);
  }

  function draw() {
    var now = new Date(), key = play ? play.track.id : "";
    put("clock", two(now.getHours()) + ":" + two(now.getMinutes()));
    document.body.className = play ? "" : "idle";
    put("state", play ? (play.alternatives.length ? "Playing this, or a track with the same passage" : "Playing now") + (where ? " · " + where : "") : "Now");
    put("title", play ? play.track.title : stateText);
    put("artist", play ? play.track.artist : "");
    put("album", play ? play.track.album : "");
    if (key !== shown) {
      shown = key;
      byId("cover").className = key ? "" : "none";
      if (key) byId("image").src = "/api/v1/covers/" + encodeURIComponent(key);
      document.title = (play ? play.track.title : stateText) + " · overheard";
    }
    if (!play) return;
    var position = play.position_s + (now - at) / 1000 * play.speed;
    if (play.duration_s) position = Math.min(position, play.duration_s);
    put("position", time(position));
    put("length", play.duration_s ? time(play.duration_s) : "");
    byId("done").style.width = play.duration_s ? (100 * position / play.duration_s) + "%" : "0";
    byId("bar").setAttribute("aria-valuenow", Math.round(position));
    byId("bar").setAttribute("aria-valuemax", Math.round(play.duration_s) || 1);
  }

  function status(data) {
    plays[data.room] = { play: data.playing, at: new Date() };
    play = null;
    for (var room in plays) {
      if (plays[room].play && (!play || plays[room].play.started_at > play.started_at)) {
        play = plays[room].play;
        at = plays[room].at;
        where = room;
      }
    }
    stateText = STATES[data.state] || data.state;
    draw();
  }

  function connect() {
    var source = new EventSource("/api/v1/events");
    source.addEventListener("status", function (event) { status(JSON.parse(event.data)); });
    source.addEventListener("live", function (event) {
      play = null;
      plays = {};
      stateText = JSON.parse(event.data).running ? "Waiting for sound" : "Not listening";
      draw();
    });
    source.onerror = function () {
      play = null;
      plays = {};
      stateText = "Connecting";
      draw();
      if (source.readyState === 2) { source.close(); setTimeout(connect, 5000); }
    };
  }

  byId("image").onerror = function () { byId("cover").className = "none"; };
  byId("full").onclick = function () {
    var root = document.documentElement;
    var request = root.requestFullscreen || root.webkitRequestFullscreen || root.mozRequestFullScreen;
    if (request) request.call(root);
  };
  var hide = 0;
  function showNav() {
    document.querySelector("nav").className = "shown";
    clearTimeout(hide);
    hide = setTimeout(function () { document.querySelector("nav").className = ""; }, 4000);
  }
  document.addEventListener("mousemove", showNav);
  document.addEventListener("touchstart", showNav);
  setInterval(draw, 1000);
  byId("cover").className = "none";
  draw();
  if (window.EventSource) connect();
  else { // without event streams, ask every 5 seconds
    (function ask() {
      var request = new XMLHttpRequest();
      request.open("GET", "/api/v1/status");
      request.onload = function () {
        try { var answer = JSON.parse(request.responseText); if (answer.status) status(answer.status); } catch (error) { /* the next one may be complete */ }
      };
      request.send();
      setTimeout(ask, 5000);
    })();
  }
})();
