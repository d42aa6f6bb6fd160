// Tells the server the browser's time zone, so that pages show local times. The page of a first visit is loaded again.
const zone = new Intl.DateTimeFormat().resolvedOptions().timeZone;
const cookie = `time_zone=${zone}`;
const isKept = () => document.cookie.split("; ").includes(cookie);

if (zone && !isKept()) {
  document.cookie = `${cookie}; path=/; max-age=31536000; samesite=lax`;
  if (isKept()) {
    location.reload();
  }
}
