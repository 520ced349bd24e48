import { expect, it } from "vitest";
import { imageAddress, imageAt, partsOf } from "./images";

it("takes addresses on the web, and nothing that a page would run or read", () => {
  expect(imageAddress(" https://a.example/b.png ")).toBe("https://a.example/b.png");
  for (const text of ["", "b.png", "javascript:alert(1)", "data:image/png;base64,AA", "file:///etc/passwd"]) {
    expect(imageAddress(text)).toBeNull();
  }
});

it("makes a message of text and images", () => {
  expect(partsOf("Look:", ["https://a.example/x/b.JPG?size=1", "https://a.example/"].map(imageAt))).toEqual([
    { kind: "text", text: "Look:" },
    { kind: "file", url: "https://a.example/x/b.JPG?size=1", mediaType: "image/jpeg", name: "b.JPG" },
    { kind: "file", url: "https://a.example/", mediaType: "image/*" },
  ]);
  expect(partsOf("", [imageAt("https://a.example/b.png")])).toHaveLength(1);
});
