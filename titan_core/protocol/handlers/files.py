"""UPLOAD_ASSET, DEPLOY_SCRIPT, FETCH_ASSET, MISSING_CONTENT, LIST_FILES."""

from __future__ import annotations

from titan_core.protocol.handlers.table import ClassicPeer, HandlerTable
from titan_core.protocol.services.files import FileService
from titan_sdk import classic_replies as replies
from titan_sdk import classic_to_master as classic
from titan_sdk import messages
from titan_sdk.classic_text import format_base64
from titan_sdk.errors import NotFound


class FileHandlers:
    """Files in both dialects: in pieces by digest in structured, whole and by name in classic."""

    def __init__(self, service: FileService) -> None:
        self._service = service

    def install(self, table: HandlerTable) -> None:
        table.answer(messages.MissingContent, self._service.missing)
        table.answer(messages.UploadChunk, self._service.upload)
        table.answer(messages.FetchContent, self._service.fetch)
        table.answer(messages.ListFiles, self._service.list_files)
        table.classic(classic.UploadAsset, self._upload)
        table.classic(classic.DeployScript, self._deploy_script)
        table.classic(classic.FetchAsset, self._fetch)

    def _upload(self, request: classic.UploadAsset, peer: ClassicPeer) -> str:
        self._service.save(request.name, request.content)
        return replies.UPLOADED

    def _deploy_script(self, request: classic.DeployScript, peer: ClassicPeer) -> str:
        self._service.save(request.name, request.content)
        return replies.SCRIPT_DEPLOYED

    def _fetch(self, request: classic.FetchAsset, peer: ClassicPeer) -> str:
        try:
            return format_base64(self._service.load(request.name))
        except NotFound:
            raise NotFound(replies.FILE_NOT_FOUND) from None
