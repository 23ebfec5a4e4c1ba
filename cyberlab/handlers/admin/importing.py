"""Users, classes and assignments from a CSV file: looked at first, with every bad row; then done, or not."""

from __future__ import annotations

from tornado.httputil import HTTPFile, HTTPInputError, parse_body_arguments
from tornado.web import HTTPError, stream_request_body

from cyberlab.auth.access import Action
from cyberlab.db import exchange, exchange_text
from cyberlab.db.errors import Conflict, NotFound
from cyberlab.db.exchange import Kind
from cyberlab.db.exchange_text import Unreadable
from cyberlab.db.page import Page
from cyberlab.handlers.admin.base import ROWS, AdminHandler
from cyberlab.handlers.admin.export import separator
from cyberlab.handlers.base import requires
from cyberlab.handlers.forms import sentence
from cyberlab.handlers.uploads import MODULES, MOST_BYTES, PATIENCE, Upload
from cyberlab.phrases import Phrase

HERE = "/admin/import"
READ = 4 * MOST_BYTES  # bytes that are taken from the browser, so that it hears that they are too many
KINDS = {
    Kind.USERS: Phrase("Users"),
    Kind.CLASSES: Phrase("Classes and who is in them"),
    Kind.ASSIGNMENTS: Phrase("Assignments"),
}


class ImportPage(AdminHandler):
    """What the pages of an import have in common."""

    kind: Kind = Kind.USERS

    def _noun(self) -> str:
        return f"/admin/{self.kind.value}"

    def ask(self, kind: Kind, problem: str = "") -> None:
        """Show the form for a file."""
        self.kind = kind
        self.set_status(422 if problem else 200)
        self.render(
            "admin/import.html",
            kind=kind,
            kinds=[(each.value, self.translate(text)) for each, text in KINDS.items()],
            columns={each: (MODULES[each].HEADINGS, MODULES[each].REQUIRED) for each in Kind},
            problem=problem,
            most_rows=exchange_text.MOST_ROWS,
            most_mb=MOST_BYTES >> 20,
        )

    def found(self, upload_id: str) -> Upload:
        """The file, or NotFound."""
        upload = self.portal.uploads.get(int(upload_id), self.user.user_id)
        if upload is None:
            raise NotFound(f"upload {upload_id}")
        self.kind = upload.kind
        return upload


@stream_request_body
@requires(Action.ADMINISTER)
class ImportHandler(ImportPage):
    """Choosing a file. Only here may a body be long, and only after it is known that an admin sends it."""

    async def prepare(self) -> None:
        """Authorize, then let the body come."""
        self._body = bytearray()
        self._length = 0
        await super().prepare()
        if not self._finished and self.request.method == "POST":
            self.request.connection.set_max_body_size(READ)  # type: ignore[union-attr]

    def data_received(self, chunk: bytes) -> None:
        """Keep what is not too much."""
        self._length += len(chunk)
        if not self._finished and self._length <= MOST_BYTES + 4096:
            self._body += chunk

    def check_xsrf_cookie(self) -> None:
        """Not yet: the token is in the body, which post() has. Tornado's check of the origin comes before this."""

    def get(self) -> None:
        """Show the form."""
        kind = self.get_query_argument("kind", "")
        self.ask(Kind(kind) if kind in set(Kind) else Kind.USERS)

    async def post(self) -> None:
        """Look at the file, and go to what it would do."""
        file = await self._parse()
        super().check_xsrf_cookie()
        sent = self.get_body_argument("kind", "")
        kind = Kind(sent) if sent in set(Kind) else Kind.USERS
        if self._length > MOST_BYTES:
            return self.ask(
                kind, self.translate("The file is larger than %(most)d MB; split it.", most=MOST_BYTES >> 20)
            )
        if file is None or not file.body:
            return self.ask(kind, self.translate("Please choose a file; this one was empty, or none."))
        try:
            upload = await self.portal.uploads.add(
                self.portal.database, self.user.user_id, kind, file.filename[:100], file.body, self.zone
            )
        except Unreadable as error:
            return self.ask(kind, sentence(self.translate(error.phrase)))
        self.redirect(f"{HERE}/{upload.id}", status=303)

    async def _parse(self) -> HTTPFile | None:
        """Take the form apart, on the thread for files."""
        body, self._body = bytes(self._body), bytearray()
        kind = self.request.headers.get("Content-Type", "")
        if self._length > MOST_BYTES:
            body = _ended(body[:4096], kind)  # the token and the kind stand before the file
        files: dict[str, list[HTTPFile]] = {}
        arguments: dict[str, list[bytes]] = {}
        try:
            await self.portal.uploads.pool.run(PATIENCE, parse_body_arguments, kind, body, arguments, files)
        except HTTPInputError as error:
            raise HTTPError(400, str(error)) from None
        self.request.body_arguments.update(arguments)
        self.request.arguments.update(arguments)
        return files["file"][0] if files.get("file") else None


@requires(Action.ADMINISTER)
class ReportHandler(ImportPage):
    """What a file would do, and doing it."""

    def get(self, upload_id: str) -> None:
        """Counts, examples, and every bad row."""
        self._show(self.found(upload_id))

    async def post(self, upload_id: str) -> None:
        """Do it: all, or the good rows if that was ticked."""
        upload = self.found(upload_id)
        good_only = self.get_body_argument("good", "") == "1"
        try:
            done = await self.portal.uploads.apply(self.portal.database, self.actor, upload, good_only)
        except Conflict as conflict:
            return self._show(upload, sentence(self.translate(conflict.message)))
        words = self.translate(
            "Imported: %(created)d new, %(changed)d changed, %(unchanged)d as they were, %(bad)d left out.",
            created=done.created,
            changed=done.changed,
            unchanged=done.unchanged,
            bad=len(done.bad),
        )
        self.done(f"/admin/{upload.kind.value}", words)

    def _show(self, upload: Upload, problem: str = "") -> None:
        bad = upload.report.bad
        offset = min(self.offset, max(len(bad) - 1, 0) // ROWS * ROWS)
        self.set_status(422 if problem else 200)
        self.render(
            "admin/import_report.html",
            upload=upload,
            report=upload.report,
            page=Page(bad[offset : offset + ROWS], len(bad), offset, ROWS),
            reasons=exchange.summary(bad),
            title=self.translate(KINDS[upload.kind]),
            problem=problem,
        )


@requires(Action.ADMINISTER)
class BadRowsHandler(ImportPage):
    """The bad rows as a file."""

    async def get(self, upload_id: str) -> None:
        """Line, column, what stood there, and why not."""
        upload = self.found(upload_id)
        rows = [(self.translate("line"), self.translate("column"), self.translate("text"), self.translate("reason"))]
        rows += [(str(bad.line), bad.column, bad.text, self.translate(bad.why)) for bad in upload.report.bad]
        text = await self.portal.uploads.pool.run(PATIENCE, exchange_text.write, rows, separator(self.locale.code))
        self.set_header("Content-Type", "text/csv; charset=utf-8")
        self.set_header("Content-Disposition", f'attachment; filename="{upload.kind.value}-bad-rows.csv"')
        self.finish("\ufeff" + text)


def _ended(head: bytes, kind: str) -> bytes:
    """The beginning of a multipart body as a whole one: up to its last part that is complete."""
    boundary = kind.partition("boundary=")[2].strip('"').encode()
    mark = b"--" + boundary
    return head[: head.rfind(mark)] + mark + b"--\r\n" if boundary and mark in head else b""
