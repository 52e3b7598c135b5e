"""Runs a command on a terminal of its own and acts as the person in front of it.

Usage: on_terminal.py STEPS COMMAND...   STEPS is JSON: [["expect", regex], ["send", text], ["resize", rows, columns], ...]
Prints one line of JSON: code, output, and whether the terminal's modes are as before.
"""
import fcntl, json, os, pty, re, select, signal, struct, sys, termios, time

steps, command = json.loads(sys.argv[1]), sys.argv[2:]
master, slave = pty.openpty()


def resize(rows, columns):
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


resize(24, 80)
before = termios.tcgetattr(slave)
pid = os.fork()
if pid == 0:
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for number in (0, 1, 2):
        os.dup2(slave, number)
    os.execvp(command[0], command)

output, seen, deadline = b"", 0, time.time() + 40
code = None


def read(seconds):
    global output
    if select.select([master], [], [], seconds)[0]:
        output += os.read(master, 65536)


def poll():
    global code
    if code is None:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
    return code is not None


for step in steps:
    if step[0] == "send":
        os.write(master, step[1].encode())
    elif step[0] == "resize":
        resize(step[1], step[2])
        # The kernel tells the foreground group of this terminal, as a window manager's resize does.
    else:
        while True:
            match = re.search(step[1].encode(), output[seen:])
            if match:
                seen += match.end()
                break
            if time.time() > deadline or poll():
                read(0.2)
                if re.search(step[1].encode(), output[seen:]):
                    continue
                os.kill(pid, signal.SIGKILL) if code is None else None
                print(json.dumps({"code": code, "missing": step[1], "output": output.decode(errors="replace")}))
                sys.exit(1)
            read(0.1)
while not poll() and time.time() < deadline:
    read(0.1)
if code is None:
    os.kill(pid, signal.SIGKILL)
read(0.2)
after = termios.tcgetattr(slave)
print(json.dumps({"code": code, "output": output.decode(errors="replace"), "isRestored": before == after}))
