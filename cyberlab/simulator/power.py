"""Tasks that change a guest: power, snapshots. What fails inside a task leaves pvesh's exit code at 0."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from cyberlab.simulator.guest import Guest, GuestOff
from cyberlab.simulator.options import Options
from cyberlab.simulator.pvesh import Call
from cyberlab.simulator.refusal import Refusal
from cyberlab.simulator.state import Snapshot, Vm
from cyberlab.simulator.tasks import Task, Tasks

BROKEN_PIPE = "broken pipe "


class Power:
    """Switches guests for pvesh and for tests; the guest's process follows the state."""

    def __init__(
        self, options: Options, tasks: Tasks, guests: dict[int, Guest], went_off: Callable[[int], None]
    ) -> None:
        """``went_off`` is told the VMID of a guest that was switched off."""
        self._options = options
        self._tasks = tasks
        self._guests = guests
        self._went_off = went_off
        self._workers: set[asyncio.Task[None]] = set()

    async def on(self, vm: Vm) -> None:
        """Switch on."""
        vm.running, vm.paused, vm.started = True, False, time.time()
        guest = self._guests.get(vm.vmid)
        if guest is None:
            return
        try:
            await guest.start()
        except (GuestOff, OSError, TimeoutError) as error:
            vm.running = False
            raise Refusal(f"start failed: QEMU exited with code 1: {error}") from None

    async def off(self, vm: Vm) -> None:
        """Switch off; open consoles end with a bare close."""
        vm.running = vm.paused = False
        guest = self._guests.get(vm.vmid)
        if guest is not None:
            await guest.stop()
        self._went_off(vm.vmid)

    async def start(self, call: Call, vm: Vm) -> str:
        """POST status/start; a container's is looked at before there is a task (PVE/API2/LXC/Status.pm)."""
        if vm.kind == "lxc" and vm.running:
            raise Refusal(f"CT {vm.vmid} already running")

        async def body(_: Task) -> None:
            vm.check_lock()
            if vm.running:
                raise Refusal(f"VM {vm.vmid} already running")
            await self._work()
            await self.on(vm)

        return await self._task(call, vm, "start", body)

    async def stop(self, call: Call, vm: Vm) -> str:
        """POST status/stop: fine for a machine that is off already, not for a container."""
        self._needs_power_if_container(vm)

        async def body(_: Task) -> None:
            vm.check_lock()
            await self._work()
            await self.off(vm)

        return await self._task(call, vm, "stop", body)

    async def shutdown(self, call: Call, vm: Vm) -> str:
        """POST status/shutdown; the demo's guests obey at once. A paused one is refused before there is a task."""
        self._needs_power_if_container(vm)
        self._needs_to_go_on(vm)

        async def body(_: Task) -> None:
            vm.check_lock()
            if not vm.running:
                raise Refusal(f"VM {vm.vmid} not running\n")
            await self._work()
            await self.off(vm)

        return await self._task(call, vm, "shutdown", body)

    async def reset(self, call: Call, vm: Vm) -> str:
        """POST status/reset: checked before the task, so a machine that is off gives an exit code."""
        self._needs_power(vm)

        async def body(_: Task) -> None:
            vm.check_lock()
            await self._work()
            vm.started = time.time()
            guest = self._guests.get(vm.vmid)
            if guest is not None:
                await guest.reset()

        return await self._task(call, vm, "reset", body)

    async def reboot(self, call: Call, vm: Vm) -> str:
        """POST status/reboot: a shutdown and a start, so consoles end."""
        self._needs_to_go_on(vm)
        self._needs_power(vm)

        async def body(_: Task) -> None:
            await self._work()
            await self.off(vm)
            await self.on(vm)

        return await self._task(call, vm, "reboot", body)

    async def snapshot(self, call: Call, vm: Vm) -> str:
        """POST snapshot."""
        name = call.text("snapname")

        async def body(task: Task) -> None:
            vm.check_lock()
            if name in vm.snapshots:
                raise Refusal(f"snapshot name '{name}' already used")
            if vm.disk:
                self._print(call, task, f"snapshotting 'drive-scsi0' (local:{vm.vmid}/vm-{vm.vmid}-disk-0.qcow2)")
            await self._work()
            keeps_memory = bool(call.number("vmstate")) and vm.running
            vm.snapshots[name] = Snapshot(name, int(time.time()), call.text("description"), keeps_memory, vm.parent)
            vm.parent = name

        return await self._task(call, vm, "snapshot", body)

    async def rollback(self, call: Call, vm: Vm) -> str:
        """POST snapshot/NAME/rollback: a running machine is switched off unless the snapshot holds its memory."""
        name = call.path["snapname"]

        async def body(_: Task) -> None:
            vm.check_lock()
            snapshot = self._find_snapshot(vm, name)
            if vm.newest_only and name != max(vm.snapshots.values(), key=lambda known: known.taken).name:
                where = f"local-zfs:vm-{vm.vmid}-disk-0"
                raise Refusal(f"can't rollback, '{name}' is not most recent snapshot on '{where}'")
            await self._work()
            await self.off(vm)
            vm.parent = name
            if snapshot.vmstate or call.number("start"):
                await self.on(vm)

        return await self._task(call, vm, "rollback", body)

    async def delete_snapshot(self, call: Call, vm: Vm) -> str:
        """DELETE snapshot/NAME."""
        name = call.path["snapname"]

        async def body(_: Task) -> None:
            vm.check_lock()
            gone = self._find_snapshot(vm, name)
            await self._work()
            del vm.snapshots[name]
            for other in vm.snapshots.values():
                other.parent = gone.parent if other.parent == name else other.parent
            vm.parent = gone.parent if vm.parent == name else vm.parent

        return await self._task(call, vm, "delsnapshot", body)

    def _needs_power(self, vm: Vm) -> None:
        if not vm.running:
            raise Refusal(f"VM {vm.vmid} not running", 2)  # so it says of a container, too

    def _needs_to_go_on(self, vm: Vm) -> None:
        if vm.paused:
            raise Refusal("VM is paused - cannot shutdown")

    def _needs_power_if_container(self, vm: Vm) -> None:
        if vm.kind == "lxc" and not vm.running:
            raise Refusal(f"CT {vm.vmid} not running")

    def _find_snapshot(self, vm: Vm, name: str) -> Snapshot:
        if name not in vm.snapshots:
            raise Refusal(f"snapshot '{name}' does not exist")
        return vm.snapshots[name]

    async def _work(self) -> None:
        await asyncio.sleep(self._options.task_duration)

    def _print(self, call: Call, task: Task, line: str) -> None:
        """A line of the task's log goes to pvesh's stdout; with nobody at the other end, SIGPIPE ends the task."""
        task.lines.append(line)
        if call.gone():
            raise Refusal(BROKEN_PIPE)
        call.out.append(line)

    async def _task(self, call: Call, vm: Vm, action: str, body: Callable[[Task], Awaitable[None]]) -> str:
        """Run a worker and return its UPID: pvesh waits for its end and prints its error, the web port does not."""
        kind = ("qm" if vm.kind == "qemu" else "vz") + action
        task = self._tasks.begin(vm.node, kind, str(vm.vmid), call.user)
        if call.cli:
            await self._work_off(call, task, body)
        else:
            worker = asyncio.create_task(self._work_off(call, task, body), name=task.upid)
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)
        return task.upid

    async def _work_off(self, call: Call, task: Task, body: Callable[[Task], Awaitable[None]]) -> None:
        status = "OK"
        try:
            await body(task)
        except Refusal as refusal:
            status = refusal.message.strip("\n")
            call.err.append(refusal.message)
        except BaseException:
            self._tasks.end(task, "unexpected status")
            raise
        # RESTEnvironment.pm:451-515: whoever has left by now breaks the pipe, and the task's record says so.
        self._tasks.end(task, BROKEN_PIPE if call.gone() else status)

    async def close(self) -> None:
        """End the tasks that nobody waits for."""
        workers = list(self._workers)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
