"""The operating system of the demo's QEMU guests: one boot sector that shows a prompt and echoes what is typed.

Assembled here from bytes, 16-bit real mode, so that nothing has to be downloaded or built. The BIOS does the work:
int 10h (screen) and int 16h (keyboard, which halts the CPU while it waits).
"""

from __future__ import annotations

ORIGIN = 0x7C00
SECTOR = 512
COLUMNS, ROWS = 80, 25
PROMPT = "$ "
# Text attributes, white on: cyan, red, green, magenta, blue, brown.
ATTRIBUTES = (0x3F, 0x4F, 0x2F, 0x5F, 0x1F, 0x6F)


def attribute(vmid: int) -> int:
    """The colours of a VM's screen, so that two consoles are told apart at a glance."""
    return ATTRIBUTES[vmid % len(ATTRIBUTES)]


def banner(name: str) -> str:
    """The first words on the screen."""
    printable = "".join(letter if " " <= letter <= "~" else "?" for letter in name)
    return f"\r\n CyberLab demo machine {printable[:40]}\r\n\r\n Type something, it is echoed.\r\n\r\n"


class _Code:
    """Bytes with labels: jumps and addresses are filled in once everything has its place."""

    def __init__(self) -> None:
        self.bytes = bytearray()
        self._labels: dict[str, int] = {}
        self._fixups: list[tuple[int, str, int]] = []  # place, label, width of a relative distance (0: absolute)

    def add(self, *code: int) -> None:
        self.bytes += bytes(code)

    def label(self, name: str) -> None:
        self._labels[name] = len(self.bytes)

    def short(self, opcode: int, label: str) -> None:
        self._fixups.append((len(self.bytes) + 1, label, 1))
        self.add(opcode, 0)

    def near(self, opcode: int, label: str) -> None:
        self._fixups.append((len(self.bytes) + 1, label, 2))
        self.add(opcode, 0, 0)

    def address(self, opcode: int, label: str) -> None:
        self._fixups.append((len(self.bytes) + 1, label, 0))
        self.add(opcode, 0, 0)

    def linked(self) -> bytes:
        for place, label, width in self._fixups:
            target = self._labels[label]
            value = target - (place + width) if width else ORIGIN + target
            size = width or 2
            self.bytes[place : place + size] = value.to_bytes(size, "little", signed=bool(width))
        return bytes(self.bytes)


def boot_sector(name: str, colours: int) -> bytes:
    """The 512 bytes for a machine of that name; ``colours`` is a VGA text attribute."""
    code = _Code()
    _start(code, colours)
    _loop(code)
    _routines(code, colours)
    code.label("banner")
    code.add(*banner(name).encode("ascii"), 0)
    code.label("prompt")
    code.add(*PROMPT.encode("ascii"), 0)
    linked = code.linked()
    assert len(linked) <= SECTOR - 2, "the boot sector is full"
    return linked.ljust(SECTOR - 2, b"\0") + b"\x55\xaa"


def _start(code: _Code, colours: int) -> None:
    code.add(0x31, 0xC0)  # xor ax, ax
    code.add(0x8E, 0xD8)  # mov ds, ax
    code.add(0x8E, 0xC0)  # mov es, ax
    code.add(0x8E, 0xD0)  # mov ss, ax
    code.add(0xBC, 0x00, 0x7C)  # mov sp, 7c00h
    code.add(0xFB)  # sti
    code.add(0xFC)  # cld
    code.add(0xB8, 0x03, 0x00)  # mov ax, 0003h   text mode, 80 x 25
    code.add(0xCD, 0x10)  # int 10h
    code.add(0xB4, 0x01)  # mov ah, 01h      cursor shape:
    code.add(0xB9, 0x00, 0x20)  # mov cx, 2000h    none, as a blinking one would never let the screen rest
    code.add(0xCD, 0x10)  # int 10h
    code.add(0xB8, 0x00, 0x06)  # mov ax, 0600h    clear the window
    code.add(0xB7, colours)  # mov bh, colours
    code.add(0x31, 0xC9)  # xor cx, cx       from 0,0
    code.add(0xBA, COLUMNS - 1, ROWS - 1)  # mov dx, 184fh    to 24,79
    code.add(0xCD, 0x10)  # int 10h
    code.address(0xBE, "banner")  # mov si, banner
    code.near(0xE8, "print")  # call print


def _loop(code: _Code) -> None:
    code.label("line")
    code.address(0xBE, "prompt")  # mov si, prompt
    code.near(0xE8, "print")  # call print
    code.label("cursor")
    code.add(0xB0, ord("_"))  # mov al, '_'      a cursor that keeps still
    code.near(0xE8, "put")  # call put
    code.label("key")
    code.add(0x30, 0xE4)  # xor ah, ah       wait for a key
    code.add(0xCD, 0x16)  # int 16h          al = character
    code.add(0x3C, 13)  # cmp al, CR
    code.short(0x74, "enter")  # je enter
    code.add(0x3C, 8)  # cmp al, BS
    code.short(0x74, "erase")  # je erase
    code.add(0x3C, 32)  # cmp al, ' '
    code.short(0x72, "key")  # jb key           arrows and the like
    code.add(0x3C, 127)  # cmp al, DEL
    code.short(0x73, "key")  # jae key
    code.add(0x50)  # push ax
    code.near(0xE8, "where")  # call where
    code.add(0x58)  # pop ax
    code.add(0x80, 0xFA, COLUMNS - 2)  # cmp dl, 78
    code.short(0x73, "key")  # jae key          the line is full
    code.near(0xE8, "type")  # call type
    code.short(0xEB, "cursor")  # jmp cursor

    code.label("erase")
    code.near(0xE8, "where")  # call where
    code.add(0x80, 0xFA, len(PROMPT))  # cmp dl, 2
    code.short(0x76, "key")  # jbe key          nothing but the prompt is left
    code.add(0xB0, ord(" "))  # mov al, ' '
    code.near(0xE8, "put")  # call put         the old cursor goes
    code.add(0xB0, 8)  # mov al, BS
    code.near(0xE8, "type")  # call type
    code.short(0xEB, "cursor")  # jmp cursor       and the new one overwrites the character

    code.label("enter")
    code.add(0xB0, ord(" "))  # mov al, ' '
    code.near(0xE8, "put")  # call put
    code.near(0xE8, "newline")  # call newline
    code.short(0xEB, "line")  # jmp line


def _routines(code: _Code, colours: int) -> None:
    code.label("newline")  # scrolls in the machine's own colours, which the BIOS would not
    code.near(0xE8, "where")  # call where
    code.add(0x80, 0xFE, ROWS - 1)  # cmp dh, 24
    code.short(0x72, "below")  # jb below
    code.add(0xB8, 0x01, 0x06)  # mov ax, 0601h    scroll up by one
    code.add(0xB7, colours)  # mov bh, colours
    code.add(0x31, 0xC9)  # xor cx, cx
    code.add(0xBA, COLUMNS - 1, ROWS - 1)  # mov dx, 184fh
    code.add(0xCD, 0x10)  # int 10h
    code.add(0xB6, ROWS - 2)  # mov dh, 23
    code.label("below")
    code.add(0xFE, 0xC6)  # inc dh
    code.add(0x30, 0xD2)  # xor dl, dl
    code.add(0x30, 0xFF)  # xor bh, bh
    code.add(0xB4, 0x02)  # mov ah, 02h      move the cursor
    code.add(0xCD, 0x10)  # int 10h
    code.add(0xC3)  # ret

    code.label("where")  # dh, dl = row, column
    code.add(0x30, 0xFF)  # xor bh, bh
    code.add(0xB4, 0x03)  # mov ah, 03h
    code.add(0xCD, 0x10)  # int 10h
    code.add(0xC3)  # ret

    code.label("put")  # al to the screen, the cursor stays
    code.add(0x30, 0xFF)  # xor bh, bh
    code.add(0xB9, 0x01, 0x00)  # mov cx, 1
    code.add(0xB4, 0x0A)  # mov ah, 0ah
    code.add(0xCD, 0x10)  # int 10h
    code.add(0xC3)  # ret

    code.label("type")  # al to the screen, the cursor moves on
    code.add(0x30, 0xFF)  # xor bh, bh
    code.add(0xB4, 0x0E)  # mov ah, 0eh
    code.add(0xCD, 0x10)  # int 10h
    code.add(0xC3)  # ret

    code.label("print")  # the text at si, up to its NUL
    code.add(0xAC)  # lodsb
    code.add(0x08, 0xC0)  # or al, al
    code.short(0x74, "printed")  # je printed
    code.near(0xE8, "type")  # call type
    code.short(0xEB, "print")  # jmp print
    code.label("printed")
    code.add(0xC3)  # ret
