// Ids are minted here, so that a command that is sent twice is done once.
export const mint = (): string => crypto.randomUUID().replaceAll("-", "");
