// What the reference's images add to their distribution: user duser, its sudo rules, sshd, nginx and the entrypoints.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface RootFile {
  path: string;
  content: string;
  mode: number;
}

/** A system user, as in the reference's base image: no password, home /opt/dispersedworker. */
export const duser = { name: 'duser', id: 999, home: '/opt/dispersedworker' };

const passwd = `root:x:0:0:root:/root:/bin/bash
sshd:x:100:65534::/run/sshd:/usr/sbin/nologin
www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
${duser.name}:x:${duser.id}:${duser.id}::${duser.home}:/bin/bash
`;
const group = `root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\n${duser.name}:x:${duser.id}:\n`;
const shadow = ['root', 'sshd', 'www-data', 'nobody', duser.name]
  .map((name) => `${name}:*:19000:0:99999:7:::\n`)
  .join('');
const pam = ['auth', 'account', 'password', 'session']
  .map((kind) => `${kind} required pam_permit.so\n`)
  .join('');

/** Nothing but the two servers and the making of host keys may be run as root. */
const sudoers = `root ALL=(ALL:ALL) ALL
${duser.name} ALL=(root) NOPASSWD: /usr/sbin/sshd, /usr/sbin/nginx, /usr/bin/ssh-keygen -A
`;

const sshdConfig = `PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
X11Forwarding no
PrintMotd no
Subsystem sftp /usr/lib/openssh/sftp-server
`;

/** Host keys are made here, so that every container has its own; without SSH_PUBKEY nothing listens on 22. */
const startSsh = `if [ -n "$SSH_PUBKEY" ]; then
  mkdir -p ~/.ssh
  chmod 700 ~/.ssh
  echo "$SSH_PUBKEY" > ~/.ssh/authorized_keys
  chmod 600 ~/.ssh/authorized_keys
  sudo /usr/bin/ssh-keygen -A >/dev/null
  sudo /usr/sbin/sshd
fi
`;

const baseEntrypoint = `#!/bin/bash
set -e
${startSsh}exec "$@"
`;

/** The token stands unquoted, as in the reference's image. */
const tokenEntrypoint = `#!/bin/bash
set -e
${startSsh}echo duser:{PLAIN}$CONTAINER_ACCESS_TOKEN > /tmp/htpasswd
busybox httpd -p 127.0.0.1:8080 -h ${duser.home}/api
exec sudo /usr/sbin/nginx
`;

const nginxConfig = `daemon off;
error_log stderr;
pid /tmp/nginx.pid;
events {}
http {
  access_log off;
  client_body_temp_path /tmp/nginx-body;
  proxy_temp_path /tmp/nginx-proxy;
  fastcgi_temp_path /tmp/nginx-fastcgi;
  uwsgi_temp_path /tmp/nginx-uwsgi;
  scgi_temp_path /tmp/nginx-scgi;
  server {
    listen 5000;
    auth_basic "llama.cpp";
    auth_basic_user_file /tmp/htpasswd;
    location / { proxy_pass http://127.0.0.1:8080; }
  }
}
`;

/** Answered by the server behind nginx at /v1/models. */
export const modelsAnswer = '{"object":"list","data":[{"id":"test-model","object":"model"}]}';

export const rootFiles: readonly RootFile[] = [
  { path: 'etc/passwd', content: passwd, mode: 0o644 },
  { path: 'etc/group', content: group, mode: 0o644 },
  { path: 'etc/shadow', content: shadow, mode: 0o600 },
  { path: 'etc/pam.d/sudo', content: pam, mode: 0o644 },
  { path: 'etc/pam.d/other', content: pam, mode: 0o644 },
  { path: 'etc/sudoers', content: sudoers, mode: 0o440 },
  { path: 'etc/ssh/sshd_config', content: sshdConfig, mode: 0o644 },
  { path: 'etc/nginx/nginx.conf', content: nginxConfig, mode: 0o644 },
  { path: 'entrypoint.sh', content: baseEntrypoint, mode: 0o755 },
  { path: 'echo.py', content: readFileSync(join(import.meta.dirname, 'echo.py'), 'utf8'), mode: 0o644 },
  { path: 'entrypoint-token.sh', content: tokenEntrypoint, mode: 0o755 },
  { path: `${duser.home.slice(1)}/api/v1/models`, content: modelsAnswer, mode: 0o644 },
];
