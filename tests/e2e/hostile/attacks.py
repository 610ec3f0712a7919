"""Attacks of a malicious trainer from inside its pod, which prints one line of JSON for each.

`{"attack": its name, "outcome": its result, or the name of the error}`. The experiment `victim`
attacks nothing: it writes a file that others must not see.
"""

import ctypes
import errno
import json
import os
import re
import shutil
import socket
import ssl
import stat
import struct
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

OUTPUT = Path(os.environ.get("OUTPUT_DIR", "/output/hostile"))
MINE = f"planted-{socket.gethostname()}"  # a name that no other pod uses
VICTIM, SECRET = "victim", "secret.txt"
PASSWORD = "/run/secrets/hello-flask-db/password"  # in the backend's container
LINKS = {  # links that the backend must not follow
    "password.txt": PASSWORD,
    "metrics.jsonl": PASSWORD,
    "environ.txt": "/proc/self/environ",
    "victim.txt": f"../{VICTIM}/{SECRET}",
    "run.json": f"../{VICTIM}/run.json",
    "summary.json": f"../{VICTIM}/run.json",
    "logs": f"../{VICTIM}",
    "up": "..",
    "root": "/",
}
SECONDS = 5
CLONE_NEWUSER, MS_REMOUNT, MS_BIND = 0x10000000, 32, 4096  # linux/sched.h, linux/mount.h

libc = ctypes.CDLL(None, use_errno=True)
attacks: dict[str, Callable[[], object]] = {}


def attack(function: Callable[[], object]) -> Callable[[], object]:
    attacks[function.__name__] = function
    return function


def names(folder: Path | str) -> list[str]:
    return sorted(one.name for one in Path(folder).iterdir())


@attack
def list_other_experiments() -> object:
    return names(OUTPUT.parent)


@attack
def read_another_experiment() -> object:
    return (OUTPUT.parent / VICTIM / SECRET).read_text()


@attack
def read_another_experiment_by_dots() -> object:
    return Path(f"{OUTPUT}/../{VICTIM}/{SECRET}").read_text()


@attack
def read_another_experiment_by_a_link() -> object:
    link = OUTPUT / MINE
    try:
        link.symlink_to(f"../{VICTIM}/{SECRET}")
        return link.read_text()
    finally:
        link.unlink()


@attack
def read_another_experiment_by_a_descriptor() -> object:
    """Leave the mounted folder through its descriptor instead of its path."""
    os.open(f"../{VICTIM}/{SECRET}", os.O_RDONLY, dir_fd=os.open(OUTPUT, os.O_RDONLY))
    return "open"


@attack
def read_another_experiment_by_a_process() -> object:
    return names(f"/proc/{os.getppid()}/root/{OUTPUT.parent}")


@attack
def read_the_root_of_the_pause_container() -> object:
    return names(f"/proc/1/root/{OUTPUT.parent}")


@attack
def open_the_host_by_a_file_handle() -> object:
    """Open inode 2 of the volume's file system, which is its root (open_by_handle_at(2))."""
    handle = struct.pack("<IiII", 8, 1, 2, 0)
    check(libc.open_by_handle_at(os.open(OUTPUT, os.O_RDONLY), handle, os.O_RDONLY))
    return "open"


@attack
def make_a_folder_beside_its_own() -> object:
    folder = OUTPUT.parent / MINE
    folder.mkdir()
    folder.rmdir()
    return "made"


@attack
def write_into_the_input() -> object:
    planted = Path("/input", MINE)
    planted.touch()
    planted.unlink()
    return "written"


@attack
def change_the_input() -> object:
    for one in Path("/input").iterdir():
        one.open("r+b").close()
    return "open"


@attack
def mount_the_input_writable() -> object:
    check(libc.mount(b"none", b"/input", None, MS_REMOUNT | MS_BIND, None))
    return "mounted"


@attack
def mount_a_file_system() -> object:
    check(libc.mount(b"none", b"/tmp", b"tmpfs", 0, None))
    return "mounted"


@attack
def find_places_to_write() -> object:
    """Try every folder and every file."""
    return sorted(set(writable_places()))


def writable_places() -> Iterator[str]:
    for folder, folders, files in os.walk("/"):
        if can_create_in(folder):
            yield folder
            folders.clear()
            continue
        if folder == "/proc":
            folders[:] = ["sys"]  # the rest is processes and kernel statistics
        for name in files:
            path = Path(folder, name)
            if is_regular(path) and can_open(path):
                yield str(path)


def can_create_in(folder: str) -> bool:
    planted = Path(folder, MINE)
    try:
        planted.touch(exist_ok=False)
        planted.unlink()
    except OSError:
        return False
    return True


def is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def can_open(path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


@attack
def be_somebody() -> object:
    return [os.getuid(), os.geteuid(), os.getgid(), sorted(set(os.getgroups()))]


@attack
def become_root() -> object:
    os.setuid(0)
    return "root"


@attack
def become_roots_group() -> object:
    os.setgid(0)
    return "root"


@attack
def become_root_by_a_program_of_roots() -> object:
    return subprocess.check_output(["/usr/bin/id", "-u"], text=True).strip()


@attack
def become_root_by_a_program_of_its_own() -> object:
    return [run_with_its_bits_set(Path(folder)) for folder in ("/tmp", OUTPUT)]


def run_with_its_bits_set(folder: Path) -> str:
    program = folder / MINE
    shutil.copyfile("/usr/bin/id", program)
    program.chmod(0o6755)
    try:
        return subprocess.check_output([program, "-u"], text=True).strip()
    finally:
        program.unlink()


@attack
def have_capabilities() -> object:
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = dict(line.split(":\t") for line in lines if ":\t" in line)
    return {name: int(fields[name], 16) for name in fields if name.startswith("Cap")} | {
        name: int(fields[name]) for name in ("NoNewPrivs", "Seccomp")
    }


@attack
def make_a_user_namespace() -> object:
    check(libc.unshare(CLONE_NEWUSER))
    return "made"


@attack
def make_a_device() -> object:
    device = OUTPUT / MINE
    os.mknod(device, stat.S_IFBLK | 0o666, os.makedev(8, 0))
    device.unlink()
    return "made"


@attack
def change_its_root() -> object:
    os.chroot("/tmp")
    return "changed"


@attack
def open_a_raw_socket() -> object:
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()
    return "open"


@attack
def see_other_processes() -> object:
    mine = {str(os.getpid()), str(os.getppid())}
    return [one for one in names("/proc") if one.isdigit() and one not in mine]


@attack
def find_a_service_account() -> object:
    return names("/var/run/secrets/kubernetes.io/serviceaccount")


@attack
def find_secrets() -> object:
    return [str(one) for one in Path("/run").rglob("*") if one.is_file() and "secret" in str(one)]


@attack
def find_secret_variables() -> object:
    """Return names only, because the output must contain no secret."""
    return [name for name in os.environ if re.search("DB_|MYSQL|TOKEN|PASSWORD|SECRET", name)]


@attack
def read_secrets_from_kubernetes() -> object:
    return ask_kubernetes("/api/v1/namespaces/default/secrets")


@attack
def make_a_pod() -> object:
    return ask_kubernetes("/api/v1/namespaces/default/pods", b"{}")


def ask_kubernetes(path: str, body: bytes | None = None) -> object:
    address = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:443{path}"
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    unchecked = ssl._create_unverified_context()
    try:
        with urllib.request.urlopen(request, timeout=SECONDS, context=unchecked) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return "refused" if error.code in (401, 403) else error.code
    except (urllib.error.URLError, TimeoutError):
        return "no answer"


def check(result: int) -> None:
    """Raise OSError if a function of the C library has failed."""
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")


def tried(function: Callable[[], object]) -> object:
    try:
        return function()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    except Exception as error:  # a mistake of this program, not a refusal
        return repr(error)


def try_everything() -> None:
    """Run each attack in a process of its own, so that a successful one cannot help the next."""
    for name, function in attacks.items():
        if os.fork() == 0:
            print(json.dumps({"attack": name, "outcome": tried(function)}), flush=True)
            os._exit(0)
        os.wait()


def plant_links() -> None:
    """Replace what the backend reads by links that it must not follow, and add a FIFO."""
    for name in LINKS:
        path = OUTPUT / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.symlink_to(LINKS[name])
    os.mkfifo(OUTPUT / "pipe.txt")


def main() -> None:
    match os.environ["EXPERIMENT_ID"]:
        case "victim":
            (OUTPUT / SECRET).write_text("the victim's secret")
        case "hostile":
            try_everything()
            plant_links()
        case _:
            try_everything()


if __name__ == "__main__":
    main()
