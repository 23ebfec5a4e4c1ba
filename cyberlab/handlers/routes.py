"""Every address of the portal, on one page."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from tornado.routing import URLSpec
from tornado.web import Application

from cyberlab.handlers import (
    account,
    account_factors,
    account_logins,
    admin,
    admin_assignments,
    admin_import,
    admin_users,
    admin_vms,
    console,
    factors,
    files,
    languages,
    login,
    sso,
    student,
    teacher,
    vnc_proxy,
)
from cyberlab.handlers.base import NotFoundHandler
from cyberlab.handlers.common import log_request
from cyberlab.handlers.modules import MODULES
from cyberlab.handlers.portal import Portal
from cyberlab.settings import ROOT

ID = "([0-9]{1,18})"  # the portal's own id
BACKEND = "([a-z0-9][a-z0-9-]{0,63})"  # a configured name


def routes(portal: Portal) -> list[URLSpec]:
    """The addresses and who answers them."""
    table: list[tuple[str, Any]] = [
        ("/", login.HomeHandler),
        ("/auth/login", login.LoginHandler),
        ("/auth/logout", login.LogoutHandler),
        (f"/auth/sso/{BACKEND}/start", sso.StartHandler),
        (f"/auth/sso/{BACKEND}/callback", sso.CallbackHandler),
        (f"/auth/sso/{BACKEND}/logout", sso.SsoLogoutHandler),
        ("/auth/factor", factors.FactorHandler),
        ("/auth/factor/passkey", factors.PasskeyHandler),
        ("/auth/enrol/passkey", factors.EnrolPasskeyHandler),
        ("/auth/enrol", factors.EnrolHandler),
        ("/auth/enrol/picture", factors.EnrolPictureHandler),
        ("/account", account.AccountHandler),
        ("/account/password", account.PasswordHandler),
        ("/account/totp", account_factors.AppHandler),
        ("/account/totp/picture", account_factors.PictureHandler),
        (f"/account/totp/{ID}/remove", account_factors.RemoveAppHandler),
        ("/account/passkeys", account_factors.PasskeyHandler),
        (f"/account/passkeys/{ID}/remove", account_factors.RemovePasskeyHandler),
        ("/account/recovery", account_factors.RecoveryHandler),
        ("/account/sessions/end", account_logins.EndOthersHandler),
        (f"/account/sessions/{ID}/end", account_logins.EndLoginHandler),
        (f"/account/devices/{ID}/forget", account_logins.ForgetDeviceHandler),
        ("/student", student.StudentHandler),
        ("/student/states", student.StudentStatesHandler),
        (f"/student/machines/{ID}/start", student.StartHandler),
        (f"/student/console/{ID}", console.StudentConsoleHandler),
        ("/teacher", teacher.TeacherHandler),
        ("/teacher/states", teacher.TeacherStatesHandler),
        (f"/teacher/console/{ID}", console.TeacherConsoleHandler),
        (f"/vnc-proxy/ws/{ID}", vnc_proxy.ConsoleSocketHandler),
        (f"/vnc-proxy/status/{ID}", console.ConsoleStatusHandler),
        ("/admin", admin.OverviewHandler),
        ("/admin/suggest/users", admin.UserSuggestionsHandler),
        ("/admin/suggest/vms", admin.VmSuggestionsHandler),
        ("/admin/users", admin_users.UsersHandler),
        ("/admin/users/new", admin_users.NewUserHandler),
        (f"/admin/users/{ID}", admin_users.EditUserHandler),
        (f"/admin/users/{ID}/active", admin_users.ActiveUserHandler),
        (f"/admin/users/{ID}/password", admin_users.PasswordHandler),
        (f"/admin/users/{ID}/sign-out", admin_users.SignOutHandler),
        (f"/admin/users/{ID}/factors", admin_users.ResetFactorsHandler),
        (f"/admin/users/{ID}/remove", admin_users.RemoveUserHandler),
        ("/admin/vms", admin_vms.VmsHandler),
        ("/admin/vms/states", admin.VmStatesHandler),
        ("/admin/vms/new", admin_vms.NewVmHandler),
        ("/admin/vms/import", admin_import.ImportVmsHandler),
        (f"/admin/vms/{ID}", admin_vms.EditVmHandler),
        (f"/admin/vms/{ID}/remove", admin_vms.RemoveVmHandler),
        ("/admin/assignments", admin_assignments.AssignmentsHandler),
        ("/admin/assignments/new", admin_assignments.NewAssignmentHandler),
        (f"/admin/assignments/{ID}", admin_assignments.EditAssignmentHandler),
        (f"/admin/assignments/{ID}/remove", admin_assignments.RemoveAssignmentHandler),
        ("/healthz", files.HealthHandler),
        ("/favicon.ico", files.FaviconHandler),
    ]
    static = {"path": str(portal.assets.folder)}
    return [
        *(URLSpec(pattern, handler) for pattern, handler in table),
        URLSpec("/static/(?:v-([0-9a-f]{12})/)?(.*)", files.AssetHandler, static),
    ]


def make_application(portal: Portal) -> Application:
    """The Tornado application: the routes and what all of them share."""
    languages.load()
    origin = urlsplit(portal.config.public_url)
    secure = portal.config.secure
    return Application(
        routes(portal),
        default_handler_class=NotFoundHandler,
        portal=portal,
        template_path=str(ROOT / "templates"),
        ui_modules=MODULES,
        cookie_secret=portal.config.secret_key.get_secret_value(),
        xsrf_cookies=True,
        xsrf_cookie_name="__Host-xsrf" if secure else "_xsrf",
        xsrf_cookie_kwargs={"path": "/", "httponly": True, "secure": secure, "samesite": "Lax"},
        cross_origin_protection=True,
        trusted_origins=[f"{origin.scheme}://{origin.netloc}"],
        log_function=log_request,
    )
