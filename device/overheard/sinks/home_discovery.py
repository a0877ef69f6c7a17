"""The topics of a device of Home Assistant, and the message by which Home Assistant discovers it."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from overheard.sinks.home_state import EVENT_TYPES
from overheard.version import version


@dataclasses.dataclass(frozen=True)
class Topics:
    """The topics of one device."""

    prefix: str  # of discovery
    id: str

    @property
    def discovery(self) -> str:
        """Where Home Assistant looks for the device."""
        return f"{self.prefix}/device/{self.id}/config"

    @property
    def birth(self) -> str:
        """Where Home Assistant says that it has started."""
        return f"{self.prefix}/status"

    def own(self, name: str) -> str:
        """Return a topic of the device."""
        return f"overheard/{self.id}/{name}"


def discovery(
    topics: Topics,
    name: str,
    *,
    can_pause: bool,
    cover: bool,
    hears: bool = True,
    availability: str = "",
    area: str = "",
    via: str = "",
) -> str:
    """Return the message by which Home Assistant discovers the device and its entities.

    Parameters
    ----------
    topics, name : of the device
    can_pause : whether there is a switch for the pause
    cover : whether there is an image
    hears : whether there are entities for what plays
    availability : topic; that of the device by default
    area : suggested to Home Assistant, such as a room
    via : id of the device that this one belongs to

    Source: https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload
    """
    components = _components(topics, can_pause, cover and hears, hears)
    entity = topics.id.lower().replace("-", "_")
    for key, component in components.items():
        component["unique_id"] = f"{topics.id}_{key}"
        component["default_entity_id"] = f"{component['platform']}.{entity}_{key}"
    origin = {
        "name": "overheard",
        "sw_version": version(),
        "support_url": "https://github.com/overheard/overheard",
    }
    device = _device(topics, name, area, via)
    shared = {"availability_topic": availability or topics.own("availability")}
    return json.dumps({"device": device, "origin": origin, **shared, "components": components})


def _device(topics: Topics, name: str, area: str, via: str) -> dict[str, Any]:
    return {
        "identifiers": [f"overheard_{topics.id}"],
        "name": name,
        "manufacturer": "overheard",
        "model": "Music recognition",
        "sw_version": version(),
        **({"suggested_area": area} if area else {}),
        **({"via_device": f"overheard_{via}"} if via else {}),
    }


def _components(topics: Topics, can_pause: bool, cover: bool, hears: bool) -> dict[str, dict[str, Any]]:
    attributes = {"json_attributes_topic": topics.own("attributes")}
    about_plays: dict[str, dict[str, Any]] = {
        "title": {"platform": "sensor", "name": "Title", "icon": "mdi:music-note", **attributes},
        "artist": {"platform": "sensor", "name": "Artist", "icon": "mdi:account-music"},
        "album": {"platform": "sensor", "name": "Album", "icon": "mdi:album"},
        "music": {"platform": "binary_sensor", "name": "Music", "device_class": "sound"},
        "event": {"platform": "event", "name": "Play", "event_types": list(EVENT_TYPES)},
    }
    components = about_plays if hears else {}
    if can_pause:
        pause = {"platform": "switch", "name": "Pause", "icon": "mdi:microphone-off"}
        components["pause"] = {**pause, "command_topic": topics.own("pause/set")}
    for key, component in components.items():
        component["state_topic"] = topics.own(key)
    if cover:
        components["cover"] = {"platform": "image", "name": "Cover", "image_topic": topics.own("cover")}
    return components
