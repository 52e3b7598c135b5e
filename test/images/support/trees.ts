// Images made of plain files, with or without a shell in them.
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

export interface Tree {
  /** Path to content; a number is so many random bytes. */
  files: Record<string, string | number | Buffer>;
  /** After the files are there, in their folder: modes, owners, links. */
  shell?: string;
  /** For another processor than this one. */
  architecture?: string;
}

/** An image of just these files; it has no shell. */
export function importTree(name: string, { files, shell, architecture }: Tree): void {
  const folder = mkdtempSync(join(tmpdir(), 'flotilla-tree-'));
  try {
    for (const [path, content] of Object.entries(files)) {
      mkdirSync(dirname(join(folder, path)), { recursive: true });
      writeFileSync(join(folder, path), typeof content === 'number' ? randomBytes(content) : content);
    }
    if (shell !== undefined) execFileSync('sh', ['-ec', shell], { cwd: folder });
    if (architecture === undefined) importFolder(name, folder);
    else loadForeign(name, { folder, architecture });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function importFolder(name: string, folder: string): void {
  const command = 'tar --numeric-owner -C "$1" -c . | docker import -c \'CMD ["/none"]\' - "$2"';
  execFileSync('sh', ['-ec', command, 'sh', folder, name], { stdio: ['ignore', 'ignore', 'inherit'] });
}

/** As `docker save` writes it, since an import is always for this machine's processor. */
function loadForeign(name: string, { folder, architecture }: { folder: string; architecture: string }): void {
  const archive = mkdtempSync(join(tmpdir(), 'flotilla-archive-'));
  try {
    const layer = execFileSync('tar', ['-C', folder, '-c', '.']);
    const diffId = `sha256:${createHash('sha256').update(layer).digest('hex')}`;
    const config = { architecture, os: 'linux', config: {}, rootfs: { type: 'layers', diff_ids: [diffId] } };
    const manifest = [{ Config: 'config.json', RepoTags: [`${name}:latest`], Layers: ['layer.tar'] }];
    writeFileSync(join(archive, 'layer.tar'), layer);
    writeFileSync(join(archive, 'config.json'), JSON.stringify(config));
    writeFileSync(join(archive, 'manifest.json'), JSON.stringify(manifest));
    execFileSync('sh', ['-ec', 'tar -C "$1" -c . | docker load', 'sh', archive], { stdio: 'ignore' });
  } finally {
    rmSync(archive, { recursive: true, force: true });
  }
}

/** busybox with a file of random bytes on top: an image that runs, and that no other test has. */
export function importProgram(name: string, { extraBytes = 1_000 }: { extraBytes?: number } = {}): void {
  const script = `
    docker create --name from-$$ test/busybox:1 >/dev/null
    mkdir "$1/tree"
    docker export from-$$ | tar -C "$1/tree" -x
    docker rm from-$$ >/dev/null
    head -c ${extraBytes} /dev/urandom >"$1/tree/random"
    tar -C "$1/tree" -c . | docker import -c 'CMD ["/bin/sh"]' -c 'ENV PATH=/bin' - "$2" >/dev/null`;
  const folder = mkdtempSync(join(tmpdir(), 'flotilla-tree-'));
  try {
    execFileSync('sh', ['-ec', script, 'sh', folder, name]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
