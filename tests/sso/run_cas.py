"""A real CAS server: python run_cas.py <port> <database file>. Runs in its own environment, see requirements.txt."""

from __future__ import annotations

import sys
from pathlib import Path

import django
from django.conf import settings
from django.core.management import call_command
from django.urls import include, path

PORT, DATABASE = sys.argv[1:3]
settings.configure(
    SECRET_KEY="for tests alone",
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
    STATIC_URL="/static/",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": DATABASE}},
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "django.contrib.messages",
        "django.contrib.staticfiles",
        "cas_server",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.locale.LocaleMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "DIRS": [Path(__file__).resolve().parent / "templates"],
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ]
            },
        }
    ],
    CAS_AUTH_CLASS="cas_server.auth.TestAuthUser",
    CAS_TEST_USER="bert",
    CAS_TEST_PASSWORD="correct horse",
    CAS_TEST_ATTRIBUTES={
        "displayName": "Bert <Example> & Söhne",
        "mail": "bert@uni.example",
        "memberOf": ["lab-users", "course-netsec"],
    },
    CAS_LOGIN_TEMPLATE="plain.html",  # the server's own loads its scripts from other sites
    CAS_NEW_VERSION_HTML_WARNING=False,
    CAS_LOGO_URL=None,
    CAS_FAVICON_URL=None,
)

django.setup()
urlpatterns = [path("cas/", include("cas_server.urls", namespace="cas_server"))]

if __name__ == "__main__":
    call_command("migrate", verbosity=0)
    from cas_server.models import ReplaceAttributName, ServicePattern

    services = r"^http://(127\.0\.0\.1|localhost)(:\d+)?/auth/.*$"
    pattern = ServicePattern.objects.create(name="cyberlab", pattern=services)
    ReplaceAttributName.objects.create(name="*", service_pattern=pattern)
    call_command("runserver", f"127.0.0.1:{PORT}", use_reloader=False, verbosity=0)
