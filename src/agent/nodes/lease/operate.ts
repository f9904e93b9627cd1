/** What one operation of a lease's holder does to the board. */
import type { Build } from "#/builds/build.ts";
import type { PortWriter } from "#/devices/port/writer.ts";
import type { Reservation } from "#/devices/reservation.ts";
import type { Operation } from "#/exchange/typing.ts";
import { formatSize } from "#/lib/units.ts";
import type { LeaseFiles, Transferring } from "./files.ts";

interface Operating extends Transferring {
  readonly reservation: Reservation;
  readonly build: Build;
  readonly files: LeaseFiles;
  readonly signal: AbortSignal;
}

/** @throws DeviceError, BoardFailure: it can't be done; the signal's reason */
export async function operate(operation: Operation, operating: Operating): Promise<void> {
  const { reservation, build, files, signal } = operating;
  const note = (text: string) => build.console?.note(text);
  switch (operation.op) {
    case "reset":
      await note("reset by the holder");
      return await reservation.reset(signal, () => {});
    case "power":
      await note(`power ${operation.action} by the holder`);
      return await reservation.switchPower(operation.action, signal, () => {});
    case "put":
      await note(`a file of ${formatSize(operation.size)} goes to ${operation.to}`);
      return await files.put(operation, operating);
    case "get":
      await note(`the file ${operation.from} is fetched`);
      return await files.get(operation, operating);
    // Done when they came.
    case "extend":
    case "release":
    case "purge":
      return;
    default:
      return await operateLine(operation, reservation.writer);
  }
}

/** What is done to the board's serial line alone. @throws DeviceError, TypeError: it can't be done */
export async function operateLine(operation: Operation, writer: PortWriter): Promise<void> {
  switch (operation.op) {
    case "write":
      return await writer.write(Buffer.from(operation.data, "base64"));
    case "baud":
      return await writer.setBaud(operation.baud);
    case "dtr":
      return await writer.setControl({ dtr: operation.on });
    case "rts":
      return await writer.setControl({ rts: operation.on });
    case "break":
      return await writer.sendBreak(operation.ms);
    case "format":
      return await writer.setFormat(operation);
    default:
      throw new TypeError("this agent can't do it");
  }
}
