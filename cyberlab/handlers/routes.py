"""Every address of the portal, on one page."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from tornado.routing import URLSpec
from tornado.web import Application

from cyberlab.handlers import (
    console,
    factors,
    files,
    help,
    languages,
    login,
    moments,
    power,
    sso,
    student,
    vnc_proxy,
)
from cyberlab.handlers.account import base as account
from cyberlab.handlers.account import confirm as account_confirm
from cyberlab.handlers.account import factors as account_factors
from cyberlab.handlers.account import logins as account_logins
from cyberlab.handlers.account import preferences as account_preferences
from cyberlab.handlers.account import tokens as account_tokens
from cyberlab.handlers.admin import assignments as admin_assignments
from cyberlab.handlers.admin import audit as admin_audit
from cyberlab.handlers.admin import base as admin
from cyberlab.handlers.admin import bulk as admin_bulk
from cyberlab.handlers.admin import changes as admin_changes
from cyberlab.handlers.admin import classes as admin_classes
from cyberlab.handlers.admin import consoles as admin_consoles
from cyberlab.handlers.admin import export as admin_export
from cyberlab.handlers.admin import health as admin_health
from cyberlab.handlers.admin import importing as admin_import
from cyberlab.handlers.admin import logins as admin_logins
from cyberlab.handlers.admin import members as admin_members
from cyberlab.handlers.admin import pairing as admin_pairing
from cyberlab.handlers.admin import power as admin_power
from cyberlab.handlers.admin import users as admin_users
from cyberlab.handlers.admin import users_bulk as admin_users_bulk
from cyberlab.handlers.admin import vm as admin_vm
from cyberlab.handlers.admin import vms as admin_vms
from cyberlab.handlers.admin.modules import ADMIN_MODULES
from cyberlab.handlers.api.routes import API
from cyberlab.handlers.base import NotFoundHandler
from cyberlab.handlers.common import log_request
from cyberlab.handlers.modules import MODULES
from cyberlab.handlers.portal import Portal
from cyberlab.handlers.teacher import acts as teacher_acts
from cyberlab.handlers.teacher import classes as teacher
from cyberlab.handlers.teacher import end as teacher_end
from cyberlab.handlers.teacher import one_class as teacher_class
from cyberlab.handlers.teacher import wall as teacher_wall
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
        ("/account/preferences", account_preferences.PreferencesHandler),
        ("/account/zones", account_preferences.ZoneSuggestionsHandler),
        ("/help", help.HelpListHandler),
        ("/help/([a-z-]{1,64})", help.HelpHandler),
        ("/language", account_preferences.LanguageHandler),
        ("/account/totp", account_factors.AppHandler),
        ("/account/confirm", account_confirm.ConfirmHandler),
        ("/account/confirm/passkey", account_confirm.PasskeyConfirmHandler),
        ("/account/totp/picture", account_factors.PictureHandler),
        (f"/account/totp/{ID}/remove", account_factors.RemoveAppHandler),
        ("/account/passkeys", account_factors.PasskeyHandler),
        (f"/account/passkeys/{ID}/remove", account_factors.RemovePasskeyHandler),
        ("/account/recovery", account_factors.RecoveryHandler),
        ("/account/sessions/end", account_logins.EndOthersHandler),
        (f"/account/sessions/{ID}/end", account_logins.EndLoginHandler),
        (f"/account/devices/{ID}/forget", account_logins.ForgetDeviceHandler),
        ("/account/tokens", account_tokens.TokensHandler),
        (f"/account/tokens/{ID}/remove", account_tokens.RemoveTokenHandler),
        ("/student", student.StudentHandler),
        ("/student/states", student.StudentStatesHandler),
        (f"/student/machines/{ID}/start", power.StartHandler),
        (f"/student/machines/{ID}/shutdown", power.ShutdownHandler),
        (f"/student/machines/{ID}/reboot", power.RebootHandler),
        (f"/student/machines/{ID}/stop", power.StopHandler),
        (f"/student/machines/{ID}/reset", power.ResetHandler),
        (f"/student/console/{ID}", console.StudentConsoleHandler),
        ("/teacher", teacher.TeacherHandler),
        ("/teacher/states", teacher.TeacherStatesHandler),
        (f"/teacher/classes/{ID}", teacher_class.ClassPageHandler),
        (f"/teacher/classes/{ID}/states", teacher_class.ClassStatesHandler),
        (f"/teacher/classes/{ID}/wall", teacher_wall.WallHandler),
        (f"/teacher/classes/{ID}/act", teacher_acts.ActHandler),
        (f"/teacher/classes/{ID}/snapshots", teacher_acts.SnapshotsHandler),
        (f"/teacher/classes/{ID}/operations/{ID}", teacher_acts.ResultsHandler),
        (f"/teacher/classes/{ID}/operations/{ID}/states", teacher_acts.ResultStatesHandler),
        (f"/teacher/classes/{ID}/end", teacher_end.EndHandler),
        (f"/teacher/classes/{ID}/end/{ID}/undo", teacher_end.TakeBackHandler),
        (f"/teacher/console/{ID}", console.TeacherConsoleHandler),
        (f"/teacher/watch/{ID}", console.WatchHandler),
        (f"/vnc-proxy/ws/{ID}", vnc_proxy.ConsoleSocketHandler),
        (f"/vnc-proxy/status/{ID}", console.ConsoleStatusHandler),
        ("/admin", admin.OverviewHandler),
        ("/admin/suggest/users", admin.UserSuggestionsHandler),
        ("/admin/suggest/vms", admin.VmSuggestionsHandler),
        ("/admin/users", admin_users.UsersHandler),
        ("/admin/users/new", admin_users.NewUserHandler),
        ("/admin/users/bulk", admin_users_bulk.BulkUsersHandler),
        ("/admin/users/export", admin_export.ExportUsersHandler),
        (f"/admin/users/{ID}", admin_users.EditUserHandler),
        (f"/admin/users/{ID}/active", admin_users.ActiveUserHandler),
        (f"/admin/users/{ID}/password", admin_users.PasswordHandler),
        (f"/admin/users/{ID}/sign-out", admin_users.SignOutHandler),
        (f"/admin/users/{ID}/factors", admin_users.ResetFactorsHandler),
        (f"/admin/users/{ID}/remove", admin_users.RemoveUserHandler),
        ("/admin/classes", admin_classes.ClassesHandler),
        ("/admin/classes/new", admin_classes.NewClassHandler),
        ("/admin/classes/export", admin_export.ExportClassesHandler),
        (f"/admin/classes/{ID}", admin_classes.EditClassHandler),
        (f"/admin/classes/{ID}/members", admin_members.AddMembersHandler),
        (f"/admin/classes/{ID}/members/change", admin_members.ChangeMembersHandler),
        (f"/admin/classes/{ID}/archive", admin_classes.ArchiveClassHandler),
        (f"/admin/classes/{ID}/remove", admin_classes.RemoveClassHandler),
        ("/admin/vms", admin_vms.VmsHandler),
        ("/admin/vms/states", admin_vms.VmStatesHandler),
        ("/admin/vms/assign", admin_vms.AssignVmsHandler),
        ("/admin/vms/power", admin_power.PowerVmsHandler),
        (f"/admin/vms/operations/{ID}", admin_power.OperationsHandler),
        (f"/admin/vms/{ID}", admin_vm.EditVmHandler),
        (f"/admin/vms/{ID}/state", admin_vm.VmStateHandler),
        (f"/admin/vms/{ID}/snapshots", admin_vm.SnapshotsHandler),
        (f"/admin/vms/{ID}/remove", admin_vm.RemoveVmHandler),
        ("/admin/assignments", admin_assignments.AssignmentsHandler),
        ("/admin/assignments/new", admin_assignments.NewAssignmentHandler),
        ("/admin/assignments/pair", admin_pairing.PairHandler),
        ("/admin/assignments/export", admin_export.ExportAssignmentsHandler),
        ("/admin/assignments/bulk", admin_bulk.BulkHandler),
        (f"/admin/assignments/{ID}", admin_assignments.EditAssignmentHandler),
        (f"/admin/assignments/{ID}/remove", admin_assignments.RemoveAssignmentHandler),
        ("/admin/import", admin_import.ImportHandler),
        (f"/admin/import/{ID}", admin_import.ReportHandler),
        (f"/admin/import/{ID}/bad", admin_import.BadRowsHandler),
        ("/admin/changes", admin_changes.ChangesHandler),
        (f"/admin/changes/{ID}", admin_changes.UndoHandler),
        ("/admin/consoles", admin_consoles.ConsolesHandler),
        ("/admin/consoles/end", admin_consoles.EndConsolesHandler),
        ("/admin/consoles/past", admin_consoles.PastConsolesHandler),
        ("/admin/logins", admin_logins.LoginsHandler),
        (f"/admin/logins/{ID}/end", admin_logins.EndLoginHandler),
        ("/admin/audit", admin_audit.AuditHandler),
        ("/admin/audit/file", admin_audit.AuditFileHandler),
        ("/admin/health", admin_health.HealthPageHandler),
        ("/admin/health/clusters", admin_health.ClusterHealthHandler),
        ("/admin/health/sign-in", admin_health.SignInHealthHandler),
        ("/admin/health/portal", admin_health.PortalHealthHandler),
        ("/healthz", files.HealthHandler),
        ("/favicon.ico", files.FaviconHandler),
    ]
    static = {"path": str(portal.assets.folder)}
    return [
        *(URLSpec(pattern, handler) for pattern, handler in [*table, *API]),
        URLSpec("/static/(?:v-([0-9a-f]{12})/)?(.*)", files.AssetHandler, static),
    ]


def make_application(portal: Portal) -> Application:
    """The Tornado application: the routes and what all of them share."""
    languages.load()
    moments.zones()
    origin = urlsplit(portal.config.public_url)
    secure = portal.config.secure
    return Application(
        routes(portal),
        default_handler_class=NotFoundHandler,
        portal=portal,
        template_path=str(ROOT / "templates"),
        ui_modules=[MODULES, ADMIN_MODULES],
        cookie_secret=portal.config.secret_key.get_secret_value(),
        xsrf_cookies=True,
        xsrf_cookie_name="__Host-xsrf" if secure else "_xsrf",
        xsrf_cookie_kwargs={"path": "/", "httponly": True, "secure": secure, "samesite": "Lax"},
        cross_origin_protection=True,
        trusted_origins=[f"{origin.scheme}://{origin.netloc}"],
        log_function=log_request,
    )
