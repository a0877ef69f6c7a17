// The token is behind the # of the address, which browsers do not send to anybody. Works in old browsers.
(function () {
  var token = location.hash.slice(1);
  if (location.search === "?wrong") document.getElementById("wrong").removeAttribute("hidden");
  if (!token) return;
  history.replaceState(null, "", "/login");
  document.getElementById("token").value = decodeURIComponent(token);
  document.forms[0].submit();
})();
