"""Landing: a response whose head is here and whose content is coming, for all who waited for it or join now."""

from __future__ import annotations

from proxy.cache.answers import not_modified_from, part_head, part_of
from proxy.cache.entry import Entry
from proxy.cache.fill import Fill
from proxy.cache.freshness import Index
from proxy.http.message import Response


class Landing:
    """What `entry`, which has no content yet, and its fill can do for a GET."""

    __slots__ = ("entry", "fill")

    def __init__(self, entry: Entry, fill: Fill) -> None:
        self.entry = entry
        self.fill = fill

    def answer(self, request_index: Index, age_s: int, now_wall: float) -> Response | None:
        """200, 206, 304 or 416; None when it has to be asked for apart.

        That is: it turned out not to be storable, or the part that is asked for is not what comes next. Who wants the
        end of a film need not wait for its middle.
        """
        entry, fill = self.entry, self.fill
        if not fill.is_open:
            return None
        if entry.status == 200:
            if (response := not_modified_from(entry, request_index, age_s, now_wall)) is not None:
                return response
            if b"range" in request_index:
                if fill.length is None:
                    return None
                found = part_of(entry, request_index, fill.length)
                if isinstance(found, Response):
                    return found
                if found is not None:
                    start, end = found
                    if start > fill.size_bytes:
                        return None
                    response = part_head(entry, start, end, fill.length, age_s)
                    response.content = fill.reader(start, end)
                    return response
        fields = entry.fields_at(age_s)
        fields.append((b"age", b"Age", b"%d" % age_s))
        return Response(entry.status, entry.reason, fields, fill.reader())
