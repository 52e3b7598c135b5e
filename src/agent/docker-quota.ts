// Whether the engine's filesystem can hold a container to a size.
import type { EngineInfo } from './docker-shapes.ts';

/** Drivers that can; overlay2 only on XFS, and there only when it is mounted with pquota. */
const sizedDrivers = ['btrfs', 'zfs', 'devicemapper', 'windowsfilter'];

/** May still be refused by overlay2 on XFS: the engine alone knows the mount options. */
export function canHoldSize({ Driver = '', DriverStatus }: EngineInfo): boolean {
  if (sizedDrivers.includes(Driver)) return true;
  const filesystem = DriverStatus?.find(([name]) => name === 'Backing Filesystem')?.[1];
  return Driver === 'overlay2' && filesystem === 'xfs';
}

export function isQuotaRefusal(text: string): boolean {
  return /storage-opt|pquota|quota/i.test(text);
}
