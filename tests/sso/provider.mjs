// A real OpenID Connect server: node provider.mjs <folder of node_modules> <port> <redirect URI> <after logout>
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [folder, port, redirect, afterLogout] = process.argv.slice(2);
const path = createRequire(`${folder}/`).resolve("oidc-provider");
const { Provider } = await import(pathToFileURL(path).href);

const PEOPLE = { anna: ["lab-users", "lab-staff"], bert: ["lab-users"], carl: [] };
const configuration = {
  clients: [
    {
      client_id: "cyberlab",
      client_secret: "an oidc secret: + & %",
      redirect_uris: [redirect],
      post_logout_redirect_uris: [afterLogout],
    },
  ],
  claims: { openid: ["sub"], profile: ["name", "preferred_username", "groups"], email: ["email", "email_verified"] },
  cookies: { keys: ["for tests alone"] },
  pkce: { required: () => true },
  // As it is meant: claims of scopes come from userinfo, not with the ID token.
  conformIdTokenClaims: true,
  async findAccount(ctx, id) {
    return {
      accountId: id,
      claims: () => ({
        sub: id,
        preferred_username: id,
        name: `${id} Example`,
        email: `${id}@uni.example`,
        email_verified: true,
        groups: PEOPLE[id] ?? [],
      }),
    };
  },
  async loadExistingGrant(ctx) {
    const grant = new ctx.oidc.provider.Grant({
      clientId: ctx.oidc.client.clientId,
      accountId: ctx.oidc.session.accountId,
    });
    grant.addOIDCScope("openid profile email");
    await grant.save();
    return grant;
  },
};
const provider = new Provider(`http://127.0.0.1:${port}`, configuration);
provider.listen(Number(port), "127.0.0.1", () => console.log("ready"));
