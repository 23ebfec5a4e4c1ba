"""A real OpenLDAP server for tests, on 127.0.0.1, with a certificate of a CA of its own."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import shutil
import socket
import subprocess
import time
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from ldap3.utils.dn import escape_rdn

from tests import patience
from tests.services import require

BASE = "dc=uni,dc=example"
SERVICE_DN, SERVICE_PASSWORD = f"cn=portal,{BASE}", "service secret"
PASSWORD = "correct horse"
# Service accounts that the server shows one entry of a search, and all of them; SERVICE_DN sees 500.
MEAGRE_DN, PLENTY_DN = f"cn=meagre,{BASE}", f"cn=plenty,{BASE}"
CROWD = 510  # groups of the person "crowd"
_DEADLINE = patience.SECONDS
_PEOPLE = ("anna", "bert", "we(i)rd*", "twin", "crowd", "jürgen", 'o\'brien, "x"+y', "#7")
# Whose password is what the ppolicy overlay makes of it.
_STATES = {
    "reset": "pwdReset: TRUE",
    "locked": "pwdAccountLockedTime: 000001010000Z",
    "expired": "pwdChangedTime: 20200101000000Z",
}
_LDIF = f"""\
dn: {BASE}
objectClass: domain
dc: uni

dn: {SERVICE_DN}
objectClass: applicationProcess
objectClass: simpleSecurityObject
cn: portal
userPassword: {SERVICE_PASSWORD}

dn: {MEAGRE_DN}
objectClass: applicationProcess
objectClass: simpleSecurityObject
cn: meagre
userPassword: {SERVICE_PASSWORD}

dn: {PLENTY_DN}
objectClass: applicationProcess
objectClass: simpleSecurityObject
cn: plenty
userPassword: {SERVICE_PASSWORD}

dn: cn=policy,{BASE}
objectClass: applicationProcess
objectClass: pwdPolicy
cn: policy
pwdAttribute: userPassword
pwdLockout: TRUE
pwdMustChange: TRUE
pwdMaxAge: 8640000

dn: ou=people,{BASE}
objectClass: organizationalUnit
ou: people

dn: ou=guests,{BASE}
objectClass: organizationalUnit
ou: guests

dn: ou=groups,{BASE}
objectClass: organizationalUnit
ou: groups

dn: cn=lab-staff,ou=groups,{BASE}
objectClass: groupOfNames
cn: lab-staff
member: uid=anna,ou=people,{BASE}

dn: cn=posix-lab,ou=groups,{BASE}
objectClass: posixGroup
cn: posix-lab
gidNumber: 5000
memberUid: anna

dn: cn=away,ou=people,{BASE}
objectClass: referral
objectClass: extensibleObject
cn: away
ref: ldap://127.0.0.1:1/ou=away,{BASE}

dn: cn=another name,ou=people,{BASE}
objectClass: alias
objectClass: extensibleObject
cn: another name
aliasedObjectName: uid=anna,ou=people,{BASE}

dn: cn=lab-staff,ou=guests,{BASE}
objectClass: groupOfNames
cn: lab-staff
member: uid=bert,ou=people,{BASE}

"""


def _person(uid: str, folder: str = "people", more: str = "") -> str:
    name = f"uid={escape_rdn(uid)},ou={folder},{BASE}"
    mail = uid[:2] if uid.isascii() else "x"
    lines = (
        _line("dn", name), "objectClass: inetOrgPerson", _line("uid", uid), _line("cn", uid), _line("sn", uid),
        _line("displayName", f"{uid.title()} Example"), f"mail: {mail}@uni.example", f"userPassword: {PASSWORD}", more,
    )  # fmt: skip
    return "\n".join(line for line in lines if line) + "\n\n"


def _line(name: str, value: str) -> str:
    """Base64 where LDIF wants it (RFC 2849)."""
    return f"{name}:: {base64.b64encode(value.encode()).decode()}"


def _crowd(number: int) -> str:
    name = f"crowd-{number}"
    member = f"member: uid=crowd,ou=people,{BASE}"
    return f"dn: cn={name},ou=groups,{BASE}\nobjectClass: groupOfNames\ncn: {name}\n{member}\n\n"


def make_certificate(folder: Path, name: str = "server", host: str = "127.0.0.1") -> tuple[Path, Path, Path]:
    """A CA and a certificate that it signed for ``host``; return the CA's file, the certificate's and its key's."""
    folder.mkdir(parents=True, exist_ok=True)
    now = datetime.datetime.now(datetime.UTC)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"CA of {name}")])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    try:
        alternative: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        alternative = x509.DNSName(host)

    def build(who: x509.Name, public: ec.EllipticCurvePublicKey, *, ca: bool) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(who)
            .issuer_name(issuer)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        )
        if not ca:
            builder = builder.add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        else:
            usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
            builder = builder.add_extension(usage, critical=True)
        return builder.sign(ca_key, hashes.SHA256())

    files = folder / f"{name}-ca.pem", folder / f"{name}.pem", folder / f"{name}-key.pem"
    files[0].write_bytes(build(issuer, ca_key.public_key(), ca=True).public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(build(subject, key.public_key(), ca=False).public_bytes(serialization.Encoding.PEM))
    files[2].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class Slapd:
    """One slapd with its database in ``folder``; ``host``: whom its certificate names."""

    def __init__(self, folder: Path, host: str = "127.0.0.1") -> None:
        program = require("slapd")
        folder.mkdir(parents=True, exist_ok=True)
        self.port, self.tls_port = free_port(), free_port()
        self.ca, certificate, key = make_certificate(folder, host=host)
        (folder / "db").mkdir()
        modules = next(iter(Path("/usr/lib").glob("**/ldap/back_mdb.la")), None)
        config = folder / "slapd.conf"
        lines = [
            *(f"include /etc/ldap/schema/{name}.schema" for name in ("core", "cosine", "nis", "inetorgperson")),
            f"pidfile {folder}/slapd.pid",
            f"modulepath {modules.parent if modules else '/usr/lib/ldap'}",
            "moduleload back_mdb",
            "moduleload memberof",
            "moduleload ppolicy",
            f"TLSCACertificateFile {self.ca}",
            f"TLSCertificateFile {certificate}",
            f"TLSCertificateKeyFile {key}",
            "security simple_bind=128",  # a password in the clear is refused
            "database mdb",
            "maxsize 10485760",
            f'suffix "{BASE}"',
            f"directory {folder}/db",
            "access to attrs=userPassword by anonymous auth by * none",
            f'access to * by dn.children="{BASE}" read by self read by * none',
            f'limits dn.exact="{MEAGRE_DN}" size=1',
            f'limits dn.exact="{PLENTY_DN}" size=unlimited',
            "overlay memberof",
            "overlay ppolicy",
            f"ppolicy_default cn=policy,{BASE}",
            "ppolicy_use_lockout",
        ]
        config.write_text("\n".join(lines) + "\n")
        people = "".join(_person(uid) for uid in _PEOPLE) + _person("twin", "guests")
        people += "".join(_person(uid, more=state) for uid, state in _STATES.items())
        people += "".join(_crowd(number) for number in range(CROWD))
        slapadd = shutil.which("slapadd", path="/usr/sbin:/usr/local/sbin:/usr/bin") or "slapadd"
        told = subprocess.run(
            [slapadd, "-q", "-f", str(config)], input=_LDIF + people, text=True, capture_output=True, check=False
        )
        assert told.returncode == 0, told.stderr
        self._log = (folder / "slapd.log").open("wb")
        addresses = f"ldap://127.0.0.1:{self.port}/ ldaps://127.0.0.1:{self.tls_port}/"
        self._process = subprocess.Popen(
            [program, "-h", addresses, "-f", str(config), "-d", "0"], stdout=self._log, stderr=self._log
        )
        deadline = time.monotonic() + _DEADLINE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.tls_port), 1).close()
                return
            except OSError:
                assert self._process.poll() is None, (folder / "slapd.log").read_text()
                assert time.monotonic() < deadline, "slapd does not listen"
                time.sleep(0.02)

    @property
    def url(self) -> str:
        """For StartTLS."""
        return f"ldap://127.0.0.1:{self.port}"

    @property
    def tls_url(self) -> str:
        """For TLS from the first byte."""
        return f"ldaps://127.0.0.1:{self.tls_port}"

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(_DEADLINE)
        self._log.close()
